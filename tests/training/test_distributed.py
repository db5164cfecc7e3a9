import numpy as np

from ecg.training import distributed


def test_one_process_keeps_everything(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    assert distributed.share([1, 2, 3]) == [1, 2, 3]
    assert distributed.gather(np.array([1, 2])).tolist() == [1, 2]


def test_the_shares_of_all_processes_come_back_in_order(monkeypatch):
    rows = np.arange(22).reshape(11, 2)
    monkeypatch.setenv("WORLD_SIZE", "3")
    shares = []
    for number in range(3):
        monkeypatch.setenv("RANK", str(number))
        shares.append(rows[distributed.share(list(range(11)))])
    assert sorted(map(len, shares)) == [3, 4, 4]

    def all_gather(parts, values):
        parts[:] = shares

    monkeypatch.setattr(distributed.dist, "all_gather_object", all_gather)
    assert (distributed.gather(shares[0]) == rows).all()
