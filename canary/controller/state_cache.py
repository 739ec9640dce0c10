"""The judge states that this process encoded last, so that it need not decode what it reads back unchanged."""

from canary.judge.state import JudgeState, decode_state, encode_state


class StateCache:
    """States by rollout. Decoding fifty of them would take a tenth of a tick."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[str, JudgeState]] = {}

    def encode(self, rollout_id: str, state: JudgeState) -> str:
        encoded = encode_state(state).decode()
        self._states[rollout_id] = (encoded, state)
        return encoded

    def decode(self, rollout_id: str, encoded: str) -> JudgeState:
        known = self._states.pop(rollout_id, None)
        return known[1] if known and known[0] == encoded else decode_state(encoded)
