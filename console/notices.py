"""The sentences that a page shows once, after an action: a closed set, so that no link can make one up."""

NOTICES = {
    "signed_in": "You are signed in.",
    "signed_out": "You are signed out. The token itself stays valid until it expires.",
    "session_ended": "Your session has ended. Sign in again to continue.",
    "link_used": "This sign-in link has been used or has expired. Each link works once; `make run` prints new ones.",
}
