"""XML files as nodes that know their line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers.expat import ExpatError, ParserCreate

from mlrun.errors import DataError


@dataclass
class Node:
    """An element. place: file and line, for messages."""

    name: str
    place: str
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Node]:
        """The children of this name."""
        return (child for child in self.children if child.name == name)

    def find(self, name: str) -> Node:
        """The first child of this name. Raises DataError if there is none."""
        found = next(self.all(name), None)
        if found is None:
            raise DataError(f"{self.place}: <{self.name}> has no <{name}>")
        return found

    def number(self, name: str) -> float:
        """The number in the first child of this name. Raises DataError if there is none."""
        child = self.find(name)
        try:
            return float(child.text)
        except ValueError:
            raise DataError(f"{child.place}: <{name}> is {child.text.strip()!r}, not a number") from None


def read_xml(path: Path) -> Node:
    """The root of an XML file. Raises DataError with the line for a damaged or empty one."""
    parser, root = ParserCreate(), Node("", str(path))
    open_nodes = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        node = Node(name, f"{path}, line {parser.CurrentLineNumber}")
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def text(part: str) -> None:
        open_nodes[-1].text += part

    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda name: open_nodes.pop()
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except ExpatError as error:
        raise DataError(f"{path}, line {error.lineno}: not a complete XML file ({error})") from None
    return root.children[0]
