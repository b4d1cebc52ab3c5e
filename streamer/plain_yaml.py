"""YAML as people write configurations: no aliases, no key twice, and numbers that are decimal."""

import re
from typing import Any

import yaml

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_FORM = {
    _INT: re.compile(r"[-+]?[0-9]+\Z"),
    _FLOAT: re.compile(
        r"([-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
    ),
}
NOT_YAML = (yaml.YAMLError, RecursionError, ValueError, LookupError, AttributeError, TypeError)
"""What ``parse`` raises: PyYAML not only its own errors, for a date such as 2001-99-99."""


class RefusedError(yaml.MarkedYAMLError):
    """YAML that is not taken; ``problem`` says why."""


def why(error: Exception, otherwise: str) -> str:
    """What is wrong with YAML that is not taken, for people; ``otherwise`` if it is none."""
    return (error.problem if isinstance(error, RefusedError) else None) or otherwise


def parse(text: str) -> Any:
    """The value that ``text`` stands for. Raises what NOT_YAML has."""
    # The loader is a safe one: it makes plain values only.
    return yaml.load(text, _Loader)  # noqa: S506


class _Loader(yaml.SafeLoader):
    """Numbers are those of YAML 1.2, decimal ones only: 1e1 is ten, and 010 too. YAML 1.1 took the
    first for a word, the second for eight, and 1:30 for ninety.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's
        first: [(tag, form) for tag, form in known if tag not in _FORM]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Aliases make gigabytes of a few lines."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise RefusedError(problem="aliases (*name) are not taken", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Of a key that is there twice one would be lost."""
        keys = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    what = f"{key.value[:60]} is there twice"
                    raise RefusedError(problem=what, problem_mark=key.start_mark)
                keys.add(key.value)
        return super().construct_mapping(node, deep)


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    return float(
        loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan")
    )


for _tag, _form in _FORM.items():
    _Loader.add_implicit_resolver(_tag, _form, list("-+.0123456789"))
_Loader.add_constructor(_INT, _int)
_Loader.add_constructor(_FLOAT, _float)
