"""Writes docs/protocol.md from the contract's own comments (default: into docs/).

python -m tools.proto_docs [FOLDER]

A test runs it into a temporary folder and compares.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import google.rpc
import grpc_tools
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

ROOT = Path(__file__).resolve().parent.parent
PROTO = "clip_labeler/v1/labeler.proto"
HEADER = "<!-- Generated from proto/clip_labeler/v1/labeler.proto by tools/proto_docs.py. Do not edit. -->\n"

# Numbers of fields within descriptor.proto: a comment's path is made of them and of places in their lists.
FILE_SYNTAX, FILE_SERVICE, FILE_MESSAGE = 12, 6, 4
SERVICE_METHOD = 2
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM = 2, 3, 4
ENUM_VALUE = 2

Comments = dict[tuple[int, ...], str]


def read_contract() -> FileDescriptorProto:
    """The contract with its comments, as protoc reads it."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "contract"
        common_protos = Path(next(iter(google.rpc.__path__))).parents[1]
        subprocess.run(
            [
                sys.executable, "-m", "grpc_tools.protoc",
                f"-I{ROOT / 'proto'}", f"-I{common_protos}", f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
                "--include_source_info", f"--descriptor_set_out={output}", PROTO,
            ],
            check=True,
        )  # fmt: skip
        return FileDescriptorSet.FromString(output.read_bytes()).file[0]


def comments_of(contract: FileDescriptorProto) -> Comments:
    """The comment before each thing, by the path that descriptor.proto gives it."""
    comments: Comments = {}
    for location in contract.source_code_info.location:
        text = "".join([*location.leading_detached_comments, location.leading_comments])
        comments[tuple(location.path)] = "\n".join(line.removeprefix(" ") for line in text.splitlines()).strip()
    return comments


def render(contract: FileDescriptorProto) -> str:
    """The page in Markdown: conventions, calls, then messages in the file's order."""
    comments = comments_of(contract)
    parts = [HEADER, "# The protocol\n", f"Package `{contract.package}`, file `proto/{PROTO}`.\n"]
    parts.append(prose(comments[FILE_SYNTAX,]))
    for i, service in enumerate(contract.service):
        parts.append(f"## {service.name}\n")
        for j, method in enumerate(service.method):
            parts.append(call(method, comments.get((FILE_SERVICE, i, SERVICE_METHOD, j), "")))
    parts.append("## Messages\n")
    for i, message in enumerate(contract.message_type):
        parts += messages(message, (FILE_MESSAGE, i), comments, "")
    return "\n".join(parts)


def call(method: MethodDescriptorProto, comment: str) -> str:
    request = ("stream of " if method.client_streaming else "") + link(method.input_type)
    response = ("stream of " if method.server_streaming else "") + link(method.output_type)
    return f"### {method.name}\n\n{request} → {response}\n\n{prose(comment)}"


def messages(message: DescriptorProto, path: tuple[int, ...], comments: Comments, parent: str) -> Iterator[str]:
    """The message, then the enums and messages within it."""
    name = f"{parent}{message.name}"
    yield f"### {name}\n\n{prose(comments.get(path, ''))}".rstrip() + "\n"
    if message.field:
        rows = (
            (str(field.number), f"`{field.name}`", field_type(field), one_of(field, message), cell(comments, path, i))
            for i, field in enumerate(message.field)
        )
        yield table(("no.", "field", "type", "one of", "meaning"), rows)
    for i, enum in enumerate(message.enum_type):
        yield enumeration(enum, (*path, MESSAGE_ENUM, i), comments, f"{name}.")
    for i, nested in enumerate(message.nested_type):
        yield from messages(nested, (*path, MESSAGE_NESTED, i), comments, f"{name}.")


def enumeration(enum: EnumDescriptorProto, path: tuple[int, ...], comments: Comments, parent: str) -> str:
    rows = (
        (str(value.number), f"`{value.name}`", one_line(comments.get((*path, ENUM_VALUE, i), "")))
        for i, value in enumerate(enum.value)
    )
    return f"### {parent}{enum.name}\n\n" + table(("no.", "value", "meaning"), rows)


def field_type(field: FieldDescriptorProto) -> str:
    named = (FieldDescriptorProto.TYPE_MESSAGE, FieldDescriptorProto.TYPE_ENUM)
    kind = link(field.type_name) if field.type in named else FieldDescriptorProto.Type.Name(field.type)[5:].lower()
    return f"repeated {kind}" if field.label == FieldDescriptorProto.LABEL_REPEATED else kind


def one_of(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""


def cell(comments: Comments, path: tuple[int, ...], index: int) -> str:
    return one_line(comments.get((*path, MESSAGE_FIELD, index), ""))


def link(type_name: str) -> str:
    """Of `.clip_labeler.v1.Outer.Inner` a link on this page, of what others define (google.rpc.Status) the name."""
    name = type_name.removeprefix(".clip_labeler.v1.")
    return f"`{name[1:]}`" if name.startswith(".") else f"[{name}](#{name.lower().replace('.', '')})"


def prose(comment: str) -> str:
    return f"{escape(comment)}\n"


def one_line(comment: str) -> str:
    return escape(" ".join(comment.split())).replace("|", "\\|")


def escape(text: str) -> str:
    """What Markdown would take for markup stays as it is written."""
    for character in "*<":
        text = text.replace(character, f"\\{character}")
    return text


def table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table without the columns that are empty in every row."""
    filled = list(rows)
    kept = [i for i in range(len(titles)) if any(row[i] for row in filled)]
    lines = [[titles[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in filled)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def generate(output: Path) -> None:
    """Writes `protocol.md` into the folder."""
    (output / "protocol.md").write_text(render(read_contract()), "utf-8")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
