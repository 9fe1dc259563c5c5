import os
import signal
import threading

import pytest

from fewmask.training.signals import listening


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_and_the_old_handler_comes_back(number):
    before = signal.getsignal(number)
    with listening() as request:
        assert not request.asked
        os.kill(os.getpid(), number)
        assert request.asked
    assert signal.getsignal(number) == before


def test_a_second_interrupt_is_not_argued_with():
    with pytest.raises(KeyboardInterrupt), listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_beside_the_main_thread_nothing_is_listened_to():
    found = []

    def work() -> None:
        with listening() as request:
            found.append(request.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
