"""The breaker: production's blocks become reviews while the guard says that far too many events are blocked."""
