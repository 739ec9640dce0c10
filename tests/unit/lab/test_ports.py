import socket

from lab.ports import free_port, is_free


def test_a_port_that_is_listened_on_is_not_free_and_never_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert not is_free(taken)
        assert free_port(taken) != taken


def test_a_preferred_port_is_chosen_while_it_is_free() -> None:
    port = free_port()
    assert is_free(port)
    assert free_port(port) == port
