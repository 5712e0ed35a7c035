import inspect
import pickle

from mien import errors


def _classes():
    return [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.MienError)]


def test_every_error_has_its_own_code():
    codes = [c.code for c in _classes()]
    assert len(codes) == len(set(codes))


def test_the_tree_in_the_docstring_is_the_tree():
    for error in _classes():
        assert error.__name__ in errors.__doc__


def test_an_error_of_another_process_arrives_whole():
    for error in _classes():
        raised = error("av", "video") if error is errors.MissingExtraError else error("what happened")
        arrived = pickle.loads(pickle.dumps(raised))
        assert (type(arrived), str(arrived), vars(arrived)) == (error, str(raised), vars(raised))


def test_missing_extra_says_what_to_type():
    error = errors.MissingExtraError("keras", "train")
    assert "pip install 'mien[train]'" in str(error)
    assert isinstance(error, ImportError)
