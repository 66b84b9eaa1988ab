"""The messages of ``open_inference.proto``, made when they are needed: no compiler at build time, no generated code.

What generated code brings is a demand for one version of protobuf; the descriptors below work with any.
"""

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROTO = Path(__file__).with_name("open_inference.proto")
_WORD = re.compile(r"//[^\n]*|[\w.]+|[{}()<>=;,]|\"[^\"]*\"")
_TYPES = {
    "double": 1, "float": 2, "int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
}  # fmt: skip
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3


@dataclass(frozen=True)
class Protocol:
    """What a file of the language ``proto3`` declares.

    Attributes:
        service: Full name of its service.
        methods: Name of each method, with the classes of its request and its response.
        messages: The classes of the messages, by name.
    """

    service: str
    methods: Mapping[str, tuple[Any, Any]]
    messages: Mapping[str, Any]


@functools.cache
def protocol() -> Protocol:
    """The protocol of ``open_inference.proto``.

    Raises:
        ImportError: If protobuf is not installed.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    reader = _Reader(PROTO.read_text(encoding="utf-8"))
    file = descriptor_pb2.FileDescriptorProto(name="sr_lab/open_inference.proto", syntax="proto3")
    methods: dict[str, tuple[str, str]] = {}
    service = ""
    while reader.words:
        match reader.take():
            case "syntax":
                reader.skip_to(";")
            case "package":
                file.package = reader.take()
                reader.skip_to(";")
            case "service":
                service = reader.take()
                methods = reader.methods()
            case "message":
                reader.message(file.message_type.add(name=reader.take()))
            case word:
                raise ValueError(f"{PROTO.name}: {word} is not understood")
    names = {message.name for message in file.message_type}
    for message in file.message_type:
        _resolve(message, f".{file.package}", names)
    pool = descriptor_pool.DescriptorPool()  # its own: a client in this process may have declared the same names
    pool.Add(file)
    classes = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names
    }
    pairs = {name: (classes[given], classes[answered]) for name, (given, answered) in methods.items()}
    return Protocol(f"{file.package}.{service}", pairs, classes)


class _Reader:
    """The words of a file, one after the other; of the language only what the file above uses."""

    def __init__(self, text: str) -> None:
        self.words: list[str] = [word for word in _WORD.findall(text) if not word.startswith("//")][::-1]

    def take(self) -> str:
        return self.words.pop()

    def skip_to(self, end: str) -> None:
        while self.take() != end:
            pass

    def methods(self) -> dict[str, tuple[str, str]]:
        found = {}
        self.skip_to("{")
        while self.take() == "rpc":
            name, _, given, _, _, _, answered, _ = (self.take() for _ in range(8))
            found[name] = (given, answered)
            self.skip_to("}")
        return found

    def message(self, made: Any) -> None:
        """Fields, nested messages and a choice of fields, up to the closing brace."""
        self.skip_to("{")
        choice: int | None = None
        while True:
            word = self.take()
            if word == "}":
                if choice is None:
                    return
                choice = None
            elif word == "message":
                self.message(made.nested_type.add(name=self.take()))
            elif word == "oneof":
                made.oneof_decl.add(name=self.take())
                choice = len(made.oneof_decl) - 1
                self.skip_to("{")
            elif word == "map":
                self._map(made)
            else:
                kind = self.take() if word == "repeated" else word
                field = made.field.add(label=_REPEATED if word == "repeated" else _OPTIONAL)
                self._named(field, kind)
                if choice is not None:
                    field.oneof_index = choice

    def _map(self, made: Any) -> None:
        """A map is a repeated message of a key and a value."""
        _, key, _, value, _ = (self.take() for _ in range(5))
        field = made.field.add(label=_REPEATED)
        name = self.words[-1]
        entry = made.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for number, (each, kind) in enumerate((("key", key), ("value", value)), 1):
            self._typed(entry.field.add(label=_OPTIONAL, name=each, number=number), kind)
        self._named(field, entry.name)

    def _named(self, field: Any, kind: str) -> None:
        field.name, _, number, _ = (self.take() for _ in range(4))
        field.number = int(number)
        self._typed(field, kind)

    @staticmethod
    def _typed(field: Any, kind: str) -> None:
        if kind in _TYPES:
            field.type = _TYPES[kind]
        else:
            field.type, field.type_name = _MESSAGE, kind


def _resolve(message: Any, around: str, names: set[str]) -> None:
    """Gives the messages that fields are of their full names: nested ones first, then those of the file."""
    own = f"{around}.{message.name}"
    nested = {each.name for each in message.nested_type}
    package = "." + around.split(".")[1]
    for field in message.field:
        if field.type == _MESSAGE:
            if field.type_name not in nested | names:
                raise ValueError(f"{PROTO.name}: there is no message {field.type_name}")
            field.type_name = f"{own if field.type_name in nested else package}.{field.type_name}"
    for each in message.nested_type:
        _resolve(each, own, names)
