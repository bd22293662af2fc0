import pickle

from pipelines.errors import RegistryError, near_names


def test_error_shows_what_and_how_to_mend() -> None:
    assert (
        str(RegistryError("version 9 is unknown", mend="shoploom status"))
        == "version 9 is unknown\n  -> shoploom status"
    )


def test_error_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(RegistryError("version 9 is unknown", mend="shoploom status")))
    assert isinstance(error, RegistryError)
    assert error.mend == "shoploom status"


def test_near_names_suggest_or_stay_silent() -> None:
    assert near_names("serach", ["search", "status"]) == "did you mean 'search'?"
    assert near_names("zzz", ["search"]) == ""
