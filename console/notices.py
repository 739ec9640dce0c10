"""The sentences that a page shows once, after an action: a closed set, so that no link can make one up."""

NOTICES = {
    "signed_in": "You are signed in.",
    "signed_out": "You are signed out. The token itself stays valid until it expires.",
    "session_ended": "Your session has ended. Sign in again to continue.",
    "rollout_started": "The rollout has started. The first verdict follows within seconds.",
    "rollout_paused": "Paused. The canary keeps its share until someone resumes it.",
    "rollout_resumed": "Resumed. The plan continues.",
    "rollout_advanced": "The canary is at the next step.",
    "rollout_promoted": "Promoted. The canary is production now.",
    "rollout_stopped": "Stopped. Production answers everything.",
    "version_changed": "The status has changed. Every worker follows within about a second.",
    "control_group_set": "The control group is set. Every worker follows within about a second.",
    "breaker_set": "The breaker is set. Every worker follows within about a second.",
    "backtest_started": "The backtest waits for a process of the controller. This page shows how far it is.",
    "link_used": "This sign-in link has been used or has expired. Each link works once; `make run` prints new ones.",
}
