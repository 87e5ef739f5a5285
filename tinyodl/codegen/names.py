"""C names of what a training graph has, and arguments of its kernel calls as C text."""

from __future__ import annotations

from dataclasses import dataclass

from tinyodl.codegen.literals import NODE, float_literal, identifiers
from tinyodl.graph import Graph, Node
from tinyodl.ops import Argument, Element, Learner, Ref, Struct, Symbol


@dataclass
class Names:
    """The C names of tensors, of the constant structs that kernel calls share, and of functions."""

    tensor: dict[str, str]
    structs: dict[Struct, str]
    nodes: dict[str, str]

    @classmethod
    def of(cls, graph: Graph) -> Names:
        inner = (each.name for node in graph.nodes for each in node.attrs.get("body", ()))
        return cls(identifiers(graph.tensors), {}, identifiers(inner, NODE))

    def part(self, node: Node) -> str:
        """The function that does a node's part of a turn, where the node is in the body of one."""
        return f"{self.nodes[node.name]}_part"

    def argument(self, argument: Argument, node: Node) -> str:
        """An argument as C text; a struct seen for the first time is named after its node."""
        match argument:
            case Ref(""):
                return "NULL"
            case Ref(name, 0):
                return self.tensor[name]
            case Ref(name, layers):
                return f"learning_layers & 0x{layers:x}u ? {self.tensor[name]} : NULL"
            case Learner(parameter):
                return f"&{self.tensor[parameter]}_learner"
            case Symbol(name):
                return name
            case Element(name, index):
                return f"{self.tensor[name]}[{index}]"
            case Struct():
                if argument not in self.structs:
                    layer = node.name.split(".")[0]
                    stem = identifiers([layer], NODE)[layer]
                    name, count = f"{stem}_shape", 2
                    while name in self.structs.values():
                        name, count = f"{stem}_{count}_shape", count + 1
                    self.structs[argument] = name
                return f"&{self.structs[argument]}"
            case float():
                return float_literal(argument)
            case int():
                return str(argument)
