//! The stack of a thread on which the JWT guard has run.

use std::ptr;
use std::sync::mpsc;
use std::thread;

use clawdb_session_guard_jwt::JwtGuard;
use clawdb_session_host::LocalGuard;
use clawdb_session_testkit::{ProcessMemory, Secrets};

use crate::caller::{GUARD_KEY, issue_request};

/// A call of a guard, given a token. It returns the token that it was about.
type Call = fn(&JwtGuard, String) -> String;

/// Returns the stack of a thread whose last call was this one of a guard, and the token that the
/// call has returned.
fn stack_after(last: Call) -> (Vec<u8>, String) {
    let (sender, receiver) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    // The guard is made on this thread, and has its key.
    let guard = JwtGuard::new(GUARD_KEY).unwrap();
    let issued = guard.issue_session_token(issue_request()).unwrap();
    let thread = thread::spawn(move || {
        let token = last(&guard, issued.token);
        sender.send((token, ptr::from_ref(&guard).addr())).unwrap();
        // The frames of the function stay as they are until the stack has been read.
        ended.recv()
    });
    let (token, address) = receiver.recv().unwrap();
    let stack = ProcessMemory::of("self").region_at(address);
    drop(end);
    thread.join().unwrap().unwrap_err();
    assert!(!stack.is_empty(), "the stack was not found");
    (stack, token)
}

#[test]
fn r22_the_stack_on_which_the_guard_has_run_contains_no_key_or_signature() {
    let functions: [(&str, Call); 3] = [
        ("issue-session-token", |guard, _| {
            let issued = guard.issue_session_token(issue_request());
            issued.unwrap().token
        }),
        ("validate-token", |guard, token| {
            guard.validate_token(token.clone()).unwrap();
            token
        }),
        ("the start of a guard", |_, token| {
            JwtGuard::new(GUARD_KEY).unwrap();
            token
        }),
    ];
    for (name, function) in functions {
        let (stack, token) = stack_after(function);
        let mut secrets = Secrets::default();
        secrets.add_key("the guard's key", GUARD_KEY);
        secrets.add_token("the token", &token);
        secrets.assert_absent(&format!("the stack after {name}"), &stack);
    }
}
