"""The send queue is bounded in stanzas and bytes, and loses last what ends calls."""

from jingle_hnt.fronts.xmpp.sendqueue import SendQueue


def everything(queue: SendQueue) -> list[bytes]:
    taken = []
    while (data := queue.take()) is not None:
        taken.append(data)
    return taken


def test_first_in_first_out() -> None:
    queue = SendQueue()
    for data in (b"1", b"2", b"3"):
        queue.put(data)
    assert everything(queue) == [b"1", b"2", b"3"]
    assert queue.take() is None


def test_the_oldest_that_may_be_lost_is_lost() -> None:
    queue = SendQueue(most_stanzas=2)
    queue.put(b"end", keep=True)
    for data in (b"1", b"2", b"3"):
        queue.put(data)
    assert everything(queue) == [b"end", b"3"]
    assert queue.dropped == 2


def test_bytes_are_bounded_as_well() -> None:
    queue = SendQueue(most_bytes=10)
    for data in (b"aaaa", b"bbbb", b"cccc"):
        queue.put(data)
    assert everything(queue) == [b"bbbb", b"cccc"]
    queue.put(b"x" * 11)
    assert everything(queue) == []
    queue.put(b"y" * 10)
    assert everything(queue) == [b"y" * 10]


def test_where_all_is_to_be_kept_the_oldest_goes() -> None:
    queue = SendQueue(most_stanzas=1)
    queue.put(b"1", keep=True)
    queue.put(b"2", keep=True)
    assert everything(queue) == [b"2"]


def test_nothing_is_left_after_a_clear() -> None:
    queue = SendQueue(most_bytes=10)
    queue.put(b"12345")
    queue.clear()
    assert len(queue) == 0
    queue.put(b"1234567890")
    assert everything(queue) == [b"1234567890"]
    assert queue.dropped == 0
