import pytest

from ecg.inference.provenance import Provenance, Start

MADE = Provenance("general", 24000, synthetic=True, has_patients=False)
HOSPITAL = Provenance("CPSC", 6877, synthetic=False, has_patients=True)


def after(parent, own=MADE, model="m.pth"):
    """Return `own` as of a training that started from a model of `parent`."""
    return Provenance(
        own.data, own.n_records, own.synthetic, own.has_patients, Start(model, "f00", parent)
    )


def test_patients_anywhere_in_the_line_of_descent_count():
    assert not MADE.ever_saw_patients and not after(MADE).ever_saw_patients
    assert HOSPITAL.ever_saw_patients and after(MADE, HOSPITAL).ever_saw_patients
    assert after(HOSPITAL).ever_saw_patients and after(after(HOSPITAL)).ever_saw_patients
    assert (
        Provenance.unknown("x").ever_saw_patients
        and after(Provenance.unknown("x")).ever_saw_patients
    )


@pytest.mark.parametrize("changes", [{"synthetic": False}, {"n_records": None}])
def test_records_of_unknown_origin_count_as_patients(changes):
    assert Provenance.from_dict(MADE.to_dict() | changes).ever_saw_patients


@pytest.mark.parametrize(
    ("provenance", "text"),
    [
        (MADE, "24,000 synthetic records, no patient"),
        (HOSPITAL, "6,877 records of CPSC"),
        (Provenance.unknown("x"), "records of x"),
        (
            after(HOSPITAL, model="hospital.pth"),
            "24,000 synthetic records, starting from hospital.pth (6,877 records of CPSC)",
        ),
        (
            after(MADE, HOSPITAL),
            "6,877 records of CPSC, starting from m.pth (24,000 synthetic records, no patient)",
        ),
        (Provenance("tiny", 40, True, True), "40 synthetic records, thresholds from tiny"),
    ],
)
def test_the_sentence_follows_from_the_facts(provenance, text):
    assert str(provenance) == text


def test_a_dictionary_holds_the_whole_line():
    line = after(after(HOSPITAL), model="n.pth")
    assert Provenance.from_dict(line.to_dict()) == line


@pytest.mark.parametrize(
    "content",
    [
        None,
        "no patient",
        {},
        MADE.to_dict() | {"n_records": "many"},
        MADE.to_dict() | {"start": {"model": "m.pth"}},
        MADE.to_dict() | {"other": 1},
    ],
)
def test_what_is_no_provenance_is_refused(content):
    with pytest.raises(ValueError, match="provenance"):
        Provenance.from_dict(content)
