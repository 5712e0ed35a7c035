"""Every error has its HTTP status, its stable code and a sentence that tells the caller nothing about this machine."""

import pytest

from mien import errors
from mien.serve.refusals import STATUS, refusal_of, sentence


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.TooLargeError("expected less"), 413),
        (errors.UnsupportedMediaError("expected a photo"), 415),
        (errors.CorruptMediaError("expected a whole photo"), 422),
        (errors.NotFoundError("expected a photo there"), 422),
        (errors.UnreadableError("expected to read it"), 422),
        (errors.UsageError("expected 1 or more"), 422),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_of_the_caller_has_its_status_and_keeps_code_and_words(error, status):
    refusal = refusal_of(error)
    assert (refusal.status, refusal.code, refusal.message) == (status, error.code, str(error))


def test_every_error_about_media_is_the_callers():
    kinds = [errors.MediaError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert len(kinds) > 5
    assert all(issubclass(kind, tuple(STATUS)) for kind in kinds)


def test_why_a_download_failed_is_not_told():
    error = errors.FetchError("expected an image at http://10.0.0.7:22/, got no answer (Connection refused)")
    assert "10.0.0.7" not in sentence(error)
    assert "refused" not in refusal_of(error).message
    assert refusal_of(error).code == error.code


def test_an_error_of_the_service_is_raised_again():
    with pytest.raises(errors.BundleError):
        refusal_of(errors.BundleError("the weights are damaged"))
