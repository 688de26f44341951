//! What server and worker say to each other, and what each kind of message promises.
