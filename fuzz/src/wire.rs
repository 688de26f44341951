//! What a worker and its supervisor say to each other.

use bowline_supervisor::wire::{Event, FRAME_BYTES_MAX, Hello, Request, read_frame};

/// Reads bytes as frames, and each body as every kind of message.
pub fn check(bytes: &[u8]) {
    body(bytes);
    let mut stream = bytes;
    while let Ok(Some(frame)) = read_frame(&mut stream) {
        assert!(frame.len() <= FRAME_BYTES_MAX);
        body(&frame);
    }
}

/// What is taken is written so that the same is taken again.
fn body(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        assert_eq!(Hello::decode(&hello.encode()).expect("the same again"), hello);
    }
    if let Ok(request) = Request::decode(bytes) {
        assert_eq!(Request::decode(&request.encode()).expect("the same again"), request);
    }
    if let Ok(event) = Event::decode(bytes) {
        assert_eq!(Event::decode(&event.encode()).expect("the same again"), event);
    }
}
