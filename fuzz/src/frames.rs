//! Frames of the protocol between server and worker: whatever comes in is refused, skipped, or means one thing.

use bowline_protocol::wire::{ServerFrame, WorkerFrame};
use bowline_protocol::{ServerMessage, WorkerMessage};
use prost::Message as _;

/// Reads bytes as a frame of either side. What passes the checks must survive being written and read again.
pub fn check(bytes: &[u8]) {
    if let Ok(frame) = WorkerFrame::decode(bytes) {
        for message in frame.messages {
            let Ok(Some(message)) = WorkerMessage::from_wire(message) else { continue };
            let again = WorkerMessage::from_wire(message.to_wire()).expect("what was taken is taken again");
            assert_eq!(again.as_ref(), Some(&message));
        }
    }
    if let Ok(frame) = ServerFrame::decode(bytes) {
        for message in frame.messages {
            let Ok(Some(message)) = ServerMessage::from_wire(message) else { continue };
            let again = ServerMessage::from_wire(message.to_wire()).expect("what was taken is taken again");
            assert_eq!(again.as_ref(), Some(&message));
            if let ServerMessage::Assign(handover) = &message {
                drop(handover.work());
            }
        }
    }
}
