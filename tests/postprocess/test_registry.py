"""Every rule has a name, fields that say what they are, and one line in the registry."""

import ast
import importlib
import inspect
import pkgutil

import pytest
from msgspec import ValidationError, convert, structs

import vesal.postprocess as room
from vesal.postprocess.components import Components
from vesal.postprocess.registry import RULES
from vesal.postprocess.rule import ClassRule, CutRule, MapRule, Rule, SliceRule

BASES = {Rule, SliceRule, ClassRule, CutRule, MapRule}


def rules_of_the_room():
    """Every class of the room that is a rule."""
    modules = [
        importlib.import_module(f"{room.__name__}.{m.name}") for m in pkgutil.iter_modules(room.__path__)
    ]
    found = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    return {kind for kind in found if issubclass(kind, Rule)} - BASES


def fields_without_words(kind):
    """Names of a rule's own fields that no docstring follows."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    body = definition.body
    return [
        line.target.id
        for line, after in zip(body, [*body[1:], None], strict=True)
        if isinstance(line, ast.AnnAssign)
        and "ClassVar" not in ast.unparse(line.annotation)
        and not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant))
    ]


def test_every_rule_of_the_room_has_one_name():
    assert len(set(RULES.values())) == len(RULES)
    assert set(RULES.values()) == rules_of_the_room()


def test_a_rule_lies_in_the_file_of_its_name():
    for name, kind in RULES.items():
        assert kind.__module__ == f"{room.__name__}.{name}"
        assert f"``{name}``" in (inspect.getmodule(kind).__doc__ or "")


@pytest.mark.parametrize("kind", [*RULES.values(), SliceRule, ClassRule, CutRule])
def test_every_field_says_what_it_is(kind):
    assert inspect.getdoc(kind)
    assert fields_without_words(kind) == []


@pytest.mark.parametrize("kind", RULES.values())
def test_a_rule_is_a_value_whose_fields_have_defaults(kind):
    rule = convert({}, kind)
    assert rule == kind() and hash(rule) == hash(kind())
    assert sum(issubclass(kind, base) for base in (SliceRule, ClassRule, CutRule, MapRule)) == 1
    with pytest.raises(ValidationError, match="unknown field `voxels`"):
        convert({"voxels": 1}, kind)
    with pytest.raises(AttributeError):
        setattr(rule, structs.fields(kind)[0].name, None)


@pytest.mark.parametrize("kind", RULES.values())
def test_what_works_on_a_class_may_be_for_some_kinds(kind):
    """A rule on the final map is for all of it."""
    named = [field.name for field in structs.fields(kind)]
    assert ("kinds" in named) == (not issubclass(kind, MapRule))
    assert getattr(kind(), "kinds", None) is None


def test_a_rule_of_one_line_is_read_as_any_other(monkeypatch):
    """A new rule is its class, and its line in the registry."""

    class Nothing(ClassRule, frozen=True):
        """Changes nothing."""

    monkeypatch.setitem(RULES, "nothing", Nothing)
    assert convert({"kinds": ["organ"]}, RULES["nothing"]) == Nothing(kinds=("organ",))


def test_the_numbers_of_algorithm_3_stand_once():
    wanted = {
        "max_components": 3,
        "max_probability_drop": 0.1,
        "high_probability": 0.86,
        "min_size_ratio": 0.6,
    }
    assert structs.asdict(Components()) == wanted | {"kinds": None, "instances": False, "semantic": True}
