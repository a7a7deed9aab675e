"""Plugins of pegbook in Python: the other side of plugins/wire/plugin.proto.

A module is a class with a name, a manual page, arguments, and a method propose(call, args) that returns a Proposal.
serve(Module(), ...) is the program's last line. Needs grpcio, protobuf and cryptography of any recent version; the
messages are made from plugin.desc, which lies beside this file or in the same zip file.

propose only reads. A Proposal says what differs; do(host) carries it out. Errors that have a meaning to pegbook:
ArgumentError, FileError, ExitError, Unreachable, Unpredicted; any other exception fails the task with its text.
"""

import base64
import datetime
import functools
import json
import os
import pkgutil
import queue
import sys
import threading
import traceback
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

COOKIE = ("PEGBOOK_PLUGIN", "this process is a plugin of pegbook")
VERSION = 1
PACKAGE = "pegbook.plugin.v1"
SERVICE = PACKAGE + ".Plugin"


def _messages():
    files = descriptor_pb2.FileDescriptorSet.FromString(pkgutil.get_data(__name__, "plugin.desc"))
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    make = getattr(message_factory, "GetMessageClass", None) or message_factory.MessageFactory(pool).GetPrototype
    return lambda name: make(pool.FindMessageTypeByName(PACKAGE + "." + name))


_message = _messages()
Frame = _message("Frame")
KINDS = dict(_message("Error").DESCRIPTOR.enum_types_by_name["Kind"].values_by_name.items())


class Error(Exception):
    """An error as the wire carries it."""

    kinds = ()

    def __init__(self, message, wire=None):
        super().__init__(message)
        self.wire = wire

    def fill(self, error):
        """Adds what pegbook may want to know."""


class Unpredicted(Error):
    """Check mode cannot know what this would give."""

    kinds = ("KIND_UNPREDICTED",)


class ArgumentError(Error):
    def __init__(self, name, problem, hint=""):
        super().__init__(problem + ("; " + hint if hint else ""))
        self.name, self.problem, self.hint = name, problem, hint

    def fill(self, error):
        error.argument.name, error.argument.problem, error.argument.hint = self.name, self.problem, self.hint


class FileError(Error):
    """A file operation that the host refused; kinds say why."""


class ExitError(Error):
    """A command that ended with another code than 0; output has it."""

    output = None


class Unreachable(Error):
    """The host cannot be reached."""


class Cancelled(Error):
    kinds = ("KIND_CANCELED",)


def _raised(wire):
    """The exception for an error of the wire."""
    kind = Error
    if wire.HasField("exit"):
        kind = ExitError
    elif wire.HasField("unreachable"):
        kind = Unreachable
    elif wire.HasField("file"):
        kind = FileError
    elif KINDS["KIND_UNPREDICTED"].number in wire.kinds:
        kind = Unpredicted
    return kind(wire.message, wire)


def _told(error):
    """An exception as an error of the wire. One that pegbook has told comes back as it was."""
    wire = _message("Error")(message=str(error) or type(error).__name__)
    if isinstance(error, Error):
        if error.wire is not None:
            wire.CopyFrom(error.wire)
            wire.given, wire.number = error.wire.number, 0
            return wire
        wire.kinds.extend(KINDS[kind].number for kind in error.kinds)
        error.fill(wire)
        return wire
    if not isinstance(error, OSError):  # a bug: say where
        last = traceback.extract_tb(error.__traceback__)[-1]
        wire.message = f"{type(error).__name__}: {error} ({os.path.basename(last.filename)}:{last.lineno})"
    return wire


class Arg:
    """One argument. type is string, bool, int, float, mode, duration, path, any, list or map."""

    def __init__(self, name, type="string", doc="", **more):
        self.name, self.type, self.doc, self.more = name, type, doc, more

    def wire(self):
        more = dict(self.more)
        if "default" in more:
            value = more["default"]
            more["default"] = str(value).lower() if isinstance(value, bool) else str(value)
        return _message("Arg")(name=self.name, type=self.type, doc=self.doc, **more)

    def read(self, value):
        readers = {"string": _text, "path": _path, "mode": _text, "duration": _text, "bool": _bool, "int": int, "float": float,
                   "list": lambda v: v if isinstance(v, list) else [v], "map": _mapping, "any": lambda v: v}
        if isinstance(value, (dict, list)) and self.type not in ("any", "map", "list") or isinstance(value, dict) and self.type == "list":
            raise ArgumentError(self.name, f"{self.name} takes a {self.type}, not {json.dumps(value)[:60]}")
        try:
            value = readers[self.type](value)
        except ValueError:
            raise ArgumentError(self.name, f"{self.name} takes a {self.type}, not a value like this") from None
        choices = self.more.get("choices")
        if choices and value not in choices:
            raise ArgumentError(self.name, f"{self.name} is {value!r}", "it is one of " + ", ".join(choices))
        return value


def _text(value):
    return str(value).lower() if isinstance(value, bool) else str(value)


def _path(value):
    if not str(value).startswith("/"):
        raise ValueError
    return str(value)


def _mapping(value):
    if not isinstance(value, dict):
        raise ValueError
    return value


def _bool(value):
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError


class Module:
    """What a plugin provides. Subclasses set name, doc and args and define propose; keeps says that all they change are
    files, by changes or apply, so that a run can be taken back."""

    name = doc = ""
    args = ()
    gathers = keeps = False

    def propose(self, call, args):
        raise NotImplementedError

    def read(self, raw):
        """The arguments as a dict, every one of them in it; None where there is no default."""
        given = json.loads(raw) if raw else {}
        known, out = {}, {}
        for arg in self.args:
            for name in (arg.name, *arg.more.get("aliases", ())):
                known[name] = arg
        for name, value in given.items():
            if name not in known:
                raise ArgumentError(name, f"there is no argument {name!r}", "the arguments are " + ", ".join(a.name for a in self.args))
            if value is not None:
                out[known[name].name] = known[name].read(value)
        for arg in self.args:
            if arg.name in out:
                continue
            if arg.more.get("required"):
                raise ArgumentError(arg.name, f"argument {arg.name} is missing", f"{arg.name} is {arg.doc}")
            out[arg.name] = arg.read(arg.more["default"]) if "default" in arg.more else None
        return out

    def wire(self):
        return _message("Module")(name=self.name, doc=self.doc, args=[a.wire() for a in self.args], gathers=self.gathers, keeps=self.keeps)


class Proposal:
    """What a module found. Without do there is nothing to carry out; with changes pegbook makes them itself."""

    def __init__(self, diff=(), output=None, do=None, changes=None, message="", facts=None, waits=False, predicts=None, leaves=(),
                 once=False):
        self.diff, self.output, self.do, self.changes = list(diff), output, do, changes
        self.message, self.facts, self.waits, self.predicts, self.leaves = message, facts or {}, waits, predicts, leaves
        self.once = once  # doing it twice is not the same, and propose cannot tell whether it was done

    def fill(self, wire):
        wire.diff.extend(self.diff)
        wire.output = _result(self.output)
        wire.does = self.do is not None
        wire.message, wire.waits, wire.once = self.message, self.waits, self.once
        wire.leaves.extend(self.leaves)
        for name, value in self.facts.items():
            wire.facts[name] = json.dumps(value).encode()
        if self.changes is not None:
            wire.only_changes = True
            wire.changes.extend(self.changes)
        if self.predicts is not None:
            wire.predicted = True
            wire.predicts.update(self.predicts)


def _result(output):
    return b"" if output is None else json.dumps(output).encode()


def diff(subject, before="", after="", note="", secret=False):
    return _message("Diff")(subject=subject, before=before, after=after, note=note, secret=secret)


def change(kind, path, content=None, **more):
    """One change of the host's files; plugin.proto lists the kinds and fields of Change."""
    wire = _message("Change")(kind=kind, path=path, **more)
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        wire.content.name, wire.content.size, wire.content.inline = path, len(data), data
    return wire


def write(path, content, **more):
    return change("write", path, content, **more)


class Host:
    """The managed host. In check mode what is written stays in memory, and commands with effects are Unpredicted."""

    def __init__(self, task, name, doing):
        self.name, self._task, self._doing = name, task, doing

    def look(self, path, follow=False, content=0, sum=False, list=False, disk=False):
        """The state of one path; kind is "missing" where nothing is there. data is its content, where asked for."""
        return self.look_all([dict(path=path, follow=follow, content=content, sum=sum, list=list, disk=disk)])[0]

    def look_all(self, queries):
        answer = self._task.ask(look=_message("Look")(doing=self._doing, queries=[_message("Look.Query")(**q) for q in queries]))
        return [Found(self._task, f) for f in answer.files.files]

    def apply(self, *changes):
        self._task.ask(apply=_message("Apply")(doing=self._doing, changes=changes))

    def run(self, argv, read_only=False, stdin=b"", **more):
        """Runs a command; another exit code than 0 is an ExitError, with the output in its output."""
        command = _message("Command")(argv=argv, read_only=read_only, stdin=stdin, **more)
        output = self._task.ask(run=_message("Run")(doing=self._doing, command=command)).output
        if output.HasField("error"):
            error = _raised(output.error)
            error.output = output
            raise error
        return output

    def predicted(self, key):
        answer = self._task.ask(predicted=_message("Predicted")(doing=self._doing, key=key)).value
        return answer.value.decode() if answer.found else None


class Found:
    """A file of the host: the fields of File in plugin.proto, and data."""

    def __init__(self, task, wire):
        self._task, self._wire = task, wire

    def __getattr__(self, name):
        return getattr(self._wire, name)

    @functools.cached_property
    def data(self):
        if not self._wire.HasField("content"):
            return None
        return self._task.read(self._wire.content)


class Call:
    """What a module is given besides its arguments."""

    def __init__(self, task, wire):
        self._task = task
        self.host = Host(task, wire.host, False)
        self.hostname, self.dir, self.batch, self.verbosity = wire.hostname, wire.dir, list(wire.batch), wire.verbosity

    def note(self, text):
        self._task.send(Frame(note=text))

    def open(self, kind, name):
        """The content of a file of the control node, as bytes."""
        return self._task.read(self._task.ask(open_file=_message("OpenFile")(kind=kind, name=name)).content)

    def render(self, name, text):
        return self._task.ask(render=_message("Render")(name=name, text=text)).value.value.decode()

    def eval(self, expression):
        return json.loads(self._task.ask(eval=_message("Eval")(expression=expression)).value.value)


class Task:
    """One task's stream."""

    def __init__(self, modules):
        self._modules, self._out, self._lock = modules, queue.Queue(), threading.Lock()
        self._waiting, self._last, self._over = {}, 0, False
        self._proposal = None
        self._cancelled = threading.Event()

    def frames(self, incoming):
        """What goes out, until the stream ends."""
        threading.Thread(target=self._listen, args=(incoming,), daemon=True).start()
        while True:
            frame = self._out.get()
            if frame is None:
                return
            yield frame

    def _listen(self, incoming):
        try:
            for frame in incoming:
                self._take(frame)
        except Exception:  # the stream has ended; who asks is told below
            pass
        self.end()

    def end(self):
        with self._lock:
            self._over = True
            waiting, self._waiting = self._waiting, {}
        self._cancelled.set()
        for answer in waiting.values():
            answer.put(None)
        self._out.put(None)

    def _take(self, frame):
        body = frame.WhichOneof("body")
        if body in ("propose", "do"):
            threading.Thread(target=self._answer, args=(frame, body), daemon=True).start()
        elif body == "cancel":
            self._cancelled.set()
            with self._lock:
                asked = list(self._waiting)
            for number in asked:
                self.send(Frame(cancel=number))
        elif body in ("read", "write", "sum", "open_content") or body is None:
            self.send(Frame(id=frame.id, error=_told(Error("this plugin does not know that question"))))
        elif body != "close":
            with self._lock:
                answer = self._waiting.pop(frame.id, None)
            if answer is not None:
                answer.put(frame)

    def _answer(self, frame, body):
        try:
            answer = self._propose(frame.propose) if body == "propose" else self._do(frame.do)
        except BaseException as error:  # a plugin goes on, whatever its module does
            answer = Frame(error=_told(error))
        answer.id = frame.id
        self.send(answer)

    def _propose(self, wire):
        module = self._modules[wire.module]
        proposal = module.propose(Call(self, wire), module.read(wire.args))
        if proposal is None:
            return Frame(nothing=_message("Nothing")())
        self._proposal = proposal
        answer = Frame()
        answer.proposed.SetInParent()
        proposal.fill(answer.proposed)
        return answer

    def _do(self, wire):
        proposal, self._proposal = self._proposal, None
        if proposal is None or proposal.do is None:
            raise Error("there is nothing to carry out: a proposal is carried out once")
        answer = Frame()
        answer.done.SetInParent()
        try:
            proposal.do(Host(self, wire.host, True))
        except Exception as error:
            answer.done.error.CopyFrom(_told(error))
        answer.done.diff.extend(proposal.diff)
        answer.done.output = _result(proposal.output)
        return answer

    def send(self, frame):
        self._out.put(frame)

    def ask(self, **body):
        answer = queue.Queue(1)
        with self._lock:
            if self._over:
                raise Cancelled("the task has ended")
            self._last += 1
            number = self._last
            self._waiting[number] = answer
        if self._cancelled.is_set():
            raise Cancelled("the task was cancelled")
        self.send(Frame(id=number, **body))
        frame = answer.get()
        if frame is None:
            raise Cancelled("the task has ended")
        if frame.WhichOneof("body") == "error":
            raise _raised(frame.error)
        return frame

    def read(self, content):
        """All of some content, which travels in pieces where it is long."""
        if len(content.inline) == content.size:
            return content.inline
        stream = self.ask(open_content=_message("OpenContent")(number=content.number)).stream.stream
        data = bytearray()
        while True:
            piece = self.ask(read=_message("Read")(stream=stream, max=256 << 10)).data
            data += piece.data
            if piece.end:
                self.send(Frame(close=stream))
                return bytes(data)


def _certificate():
    """A key and a certificate for this process alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding
    private = key.private_bytes(encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(encoding.PEM), certificate.public_bytes(encoding.DER)


def _end_with_pegbook():
    while os.read(0, 4096):
        pass
    os._exit(0)


def serve(*modules, threads=256):
    """A plugin's main. Returns never."""
    if os.environ.get(COOKIE[0]) != COOKIE[1]:
        print("This is a plugin of pegbook, which starts it by itself: pegbook plugin add FILE. Its modules:", file=sys.stderr)
        for m in modules:
            print("   ", m.name, "-", m.doc.split("\n")[0], file=sys.stderr)
        sys.exit(1)
    threading.Thread(target=_end_with_pegbook, daemon=True).start()
    by_name = {m.name: m for m in modules}

    def describe(request, context):
        return _message("Description")(modules=[m.wire() for m in modules])

    def task(incoming, context):
        t = Task(by_name)
        context.add_callback(t.end)
        return t.frames(incoming)

    server = grpc.server(futures.ThreadPoolExecutor(threads), options=[
        ("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20),
        ("grpc.http2.min_ping_interval_without_data_ms", 5000), ("grpc.keepalive_permit_without_calls", 1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {
        "Describe": grpc.unary_unary_rpc_method_handler(describe, _message("DescribeRequest").FromString, lambda m: m.SerializeToString()),
        "Task": grpc.stream_stream_rpc_method_handler(task, Frame.FromString, lambda m: m.SerializeToString()),
    }),))
    private, pem, der = _certificate()
    credentials = grpc.ssl_server_credentials([(private, pem)], root_certificates=os.environ["PLUGIN_CLIENT_CERT"].encode(), require_client_auth=True)
    address = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "plugin")
    server.add_secure_port("unix:" + address, credentials)
    server.start()
    encoded = base64.b64encode(der).decode().rstrip("=")
    print(f"1|{VERSION}|unix|{address}|grpc|{encoded}", flush=True)
    server.wait_for_termination()
