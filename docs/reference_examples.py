# ruff: noqa: E402
"""The examples of docs/reference.md, one section per heading. `make reference` copies them into the page.

A section starts with a line `# == Heading: Name, Name`, which lists the public names that it documents. Lines that start with
`# ->` at its end are what its code prints. The sections run one after the other.
"""

# == Ports and nodes: Node, In, Out, Context
# A node is a class with typed ports and one method. A `process` with one output may return its value.
from lanemesh import Context, In, Node, Out
from lanemesh.testing import run_node


class Add(Node):
    """Adds two numbers."""

    a: In[float]
    b: In[float] = 0.0
    total: Out[float]

    def process(self, context: Context):
        return self.a + self.b


print(run_node(Add, a=[1, 2], b=[3]).total)
# -> [1.0, 2.0, 5.0]

# == Functions as nodes: node
# `@node` derives the ports from a signature. Keyword-only parameters are settings.
from lanemesh import node


@node
def repeat(text: str, *, times: int = 2) -> str:
    return text * times


print(repeat.provider, run_node(repeat, text=["ab"]).out)
# -> repeat ['abab']

# == Streams: Inputs, Outputs
# `run` reads its inputs and emits through its outputs at its own pace.
from lanemesh import Inputs, Outputs


class Shout(Node):
    """Upper-cases text as it arrives."""

    text: In[str]
    shouted: Out[str]

    async def run(self, context: Context, inputs: Inputs, outputs: Outputs):
        async for piece in inputs.stream("text"):
            await outputs.emit("shouted", piece.upper())


print(run_node(Shout, text=["hello ", "mesh"]).shouted)
# -> ['HELLO ', 'MESH']

# == Groups: Pieces, Whole, Group, Envelope
# The items of one firing are the pieces of a whole. An input of wholes assembles them.
from lanemesh import Envelope, Group, Pieces, Whole


class Words(Node):
    """Splits a text into the words of one whole."""

    text: In[str]
    words: Out[Pieces[str]]

    def gen_process(self, context: Context):
        for word in self.text.split():
            yield "words", word


class Length(Node):
    """Measures whole texts."""

    text: In[Whole[str]]
    length: Out[int]

    def process(self, context: Context):
        return len(self.text)


print(run_node(Words, text=["a whole text"]).words, run_node(Length, text=["a whole text"]).length)
print(Envelope(group=Group("answer-1", index=0, last=True)).group.last)
# -> ['a', 'whole', 'text'] [12]
# -> True

# == Services: Service, Environment
# A package registers its node types as a service, by the entry-point group `lanemesh.services`. A service whose libraries clash
# with those of others declares an environment of its own.
from lanemesh import Environment, Service

SERVICE = Service("arithmetic", [Add, repeat], Environment(requirements=("pydantic>=2.11",)))
print(SERVICE.name, [node_type.provider for node_type in SERVICE.nodes], SERVICE.environment.is_here())
# -> arithmetic ['add', 'repeat'] True

# == Values: Question, Answer, Message, Example, Document, Table, Tags, Usage, Json
# Values are frozen. `Json` is the type of a value on a data lane.
from lanemesh import Answer, Document, Example, Json, Media, Message, Question, Table, Tags, Usage

question = Question(
    "Which city is warmer?",
    history=(Message("user", "Hello"), Message("assistant", "Hello. What is the question?")),
    examples=(Example("Which is larger, 1 or 2?", "2"),),
    documents=(Document("Oslo: 9 degrees. Lisbon: 24 degrees.", source="weather.txt"),),
)
answer = Answer("Lisbon.", finish_reason="stop", usage=Usage(prompt_tokens=40, completion_tokens=3))
table = Table(("city", "degrees"), (("Oslo", 9), ("Lisbon", 24)))
tags = Tags(language="en", priority=1)
data: Json = {"cities": ["Oslo", "Lisbon"]}
unread = Document("", source="cities.pdf", file=Media("application/pdf", b"%PDF-1.7"))
print(
    unread.source,
    question.documents[0].source,
    answer.usage.completion_tokens,
    table.rows[1][0],
    tags["language"],
    data["cities"][0],
)
# -> cities.pdf weather.txt 3 Lisbon en Oslo

# == Media: Media, Image, Audio, Video
# A media value holds its bytes, or a URI of them.
from lanemesh import Audio, Image, Media, Video

for media in (
    Image("image/png", b"\x89PNG"),
    Audio("audio/wav", b"RIFF", rate=16000.0),
    Video("video/mp4", uri="file:///film.mp4"),
):
    print(isinstance(media, Media), media.mime_type, len(media.content), media.uri)
# -> True image/png 4
# -> True audio/wav 4
# -> True video/mp4 0 file:///film.mp4

# == Batches of firings: Batch
# With `batch`, `process` gets the firings of several runs at once, as copies of the node, and returns one result for each.
from lanemesh import Batch


class Length(Node):
    """Measures texts, up to 16 in one call."""

    batch = Batch(max=16, within=0.01)
    text: In[str]
    length: Out[int]

    def process(self, items: list["Length"]):
        return [len(item.text) for item in items]


print(run_node(Length, text=["one", "three"]).length)
# -> [3, 5]

# == Firings on a GPU: Gpu
# With `gpu`, each firing runs under a lease of a GPU, or of a part of its memory.
import os

from lanemesh import Gpu

os.environ["LANEMESH_GPUS"] = "sim:0=24GiB"  # a simulated one, for this page


class Embed(Node):
    """Runs on a GPU that it shares while the memory suffices."""

    gpu = Gpu(memory="6GiB", peak="9GiB")
    text: In[str]
    where: Out[str]

    def process(self, context: Context):
        (lease,) = context.gpu.held
        return lease.device.id


print(run_node(Embed, text="a text").where)
# -> ['sim:0']

# == Calling a model: Invokes, LlmClient, ChatReply, Sampling
# A node declares the helpers that it calls. `context.llm.chat` returns the whole turn.
from lanemesh import ChatReply, Invokes, LlmClient, Sampling


class Headline(Node):
    """Asks a model for a headline."""

    invokes = (Invokes("llm"),)
    text: In[str]
    headline: Out[str]

    async def process(self, context: Context):
        model: LlmClient = context.llm
        reply: ChatReply = await model.chat(f"A headline for: {self.text}", sampling=Sampling(temperature=0.0))
        return reply.text


print(run_node(Headline, text=["rain in Oslo"], llm="Umbrellas sold out").headline)
# -> ['Umbrellas sold out']

# == Calling tools: ToolClient
# `context.tools` has the tools of all helpers. A tool is called by its name, with its arguments as keywords.
from lanemesh import ToolClient


class Forecast(Node):
    """Asks a tool for the weather of a city."""

    invokes = (Invokes("tool"),)
    city: In[str]
    weather: Out[str]

    async def process(self, context: Context):
        tools: ToolClient = context.tools
        known = [spec.name for spec in await tools.specs()]
        station = tools[known[0]]
        return f"{await station(city=self.city)} (asked {known[0]})"


print(run_node(Forecast, city=["Oslo"], tools={"station": lambda city: f"rain in {city}"}).weather)
# -> ['rain in Oslo (asked station)']

# == Using a memory: MemoryClient, MemoryEntry, MemoryScope, MemorySpace
# `context.memory` stores JSON values under keys: of the run, or with `space` of its session or permanently.
from lanemesh import MemoryClient, MemoryEntry, MemoryScope, MemorySpace


class Counter(Node):
    """Counts the questions of a session."""

    invokes = (Invokes("memory"),)
    text: In[str]
    count: Out[int]

    async def process(self, context: Context):
        memory: MemoryClient = context.memory.space(MemoryScope.SESSION, namespace="counts")
        entry: MemoryEntry | None = await memory.get("questions")
        count = entry.value + 1 if entry else 1
        await memory.put("questions", count, ttl=3600)
        return count


print(run_node(Counter, text=["a", "b"], memory={}, session="chat-7").count)
print(MemorySpace("session", "counts").scope is MemoryScope.SESSION)
# -> [1, 2]
# -> True

# == Calling an agent: AgentClient, AgentReply
# `context.agents` has the connected agents by name. `run` returns the whole answer, `stream` yields the events.
from lanemesh import AgentClient, AgentReply


class Editor(Node):
    """Lets a researcher look things up."""

    invokes = (Invokes("agent", name="researcher"),)
    text: In[str]
    article: Out[str]

    async def process(self, context: Context):
        researcher: AgentClient = context.agents["researcher"]
        reply: AgentReply = await researcher.run(f"Find three facts about {self.text}.", max_waves=3)
        return f"{self.text}: {reply.text}"


print(run_node(Editor, text=["Oslo"], agents={"researcher": "It rains."}).article)
# -> ['Oslo: It rains.']

# == Being a model: ChatRequest, ChatEvent, ChatText, ToolCall, ChatFinish
# A node that offers "llm" implements `chat`, a generator of the events of one turn.
import asyncio
from collections.abc import AsyncIterator

from lanemesh import ChatEvent, ChatFinish, ChatRequest, ChatText, ToolCall


class Backwards(Node):
    """Answers with the question, backwards."""

    offers = ("llm",)

    async def chat(self, context: Context, request: ChatRequest) -> AsyncIterator[ChatEvent]:
        if request.tools:
            yield ToolCall("call_1", request.tools[0].name, '{"city": "Oslo"}')
        yield ChatText(request.messages[-1].content[::-1])
        yield ChatFinish("stop")


async def turn(request: ChatRequest):
    return [event async for event in Backwards().chat(None, request)]


print(asyncio.run(turn(ChatRequest((Message("user", "olleh"),)))))
# -> [ChatText(text='hello'), ChatFinish(reason='stop')]

# == Being a tool: ToolSpec, ToolProgress, ToolResult
# A model gets the specs of the tools. The result of a call is JSON text.
from lanemesh import ToolProgress, ToolResult, ToolSpec

spec = ToolSpec("weather", "Weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
print(spec.name, list(spec.parameters["properties"]), ToolResult('{"degrees": 9}', call_id="call_1").value)
print(ToolProgress("asking the station", 0.5))
# -> weather ['city'] {'degrees': 9}
# -> ToolProgress(message='asking the station', fraction=0.5, call_id='', usage=None)

# == Being a memory: MemoryQuery
# A node that offers "memory" implements `put`, `get`, `list`, `search` and `clear`. The run and its session are in `context`.
from lanemesh import MemoryQuery


class Quotes(Node):
    """A memory that only finds quotes."""

    offers = ("memory",)

    async def search(self, context: Context, space: MemorySpace, query: MemoryQuery) -> AsyncIterator[MemoryEntry]:
        yield MemoryEntry("quote-1", f"{query.text}!", score=1.0)


async def found(query: MemoryQuery):
    return [entry.value async for entry in Quotes().search(None, MemorySpace(), query)]


print(asyncio.run(found(MemoryQuery("rain", limit=1))))
# -> ['rain!']

# == Being an agent: AgentRequest, AgentThought, AgentEvent
# A node that offers "agent" implements `run_agent`, a generator of thoughts, calls, results and pieces of the answer.
from lanemesh import AgentEvent, AgentRequest, AgentThought, Answer


class Parrot(Node):
    """Answers with the task."""

    offers = ("agent",)

    async def run_agent(self, context: Context, request: AgentRequest) -> AsyncIterator[AgentEvent]:
        yield AgentEvent(AgentThought("I repeat it."), wave=1)
        yield AgentEvent(Answer(request.messages[-1].content, finish_reason="stop"), wave=2)


async def steps(request: AgentRequest):
    return [(event.wave, event.step) async for event in Parrot().run_agent(None, request)]


print(asyncio.run(steps(AgentRequest((Message("user", "hello"),))))[0])
# -> (1, AgentThought(text='I repeat it.'))
# == Functions as tools: tool, ToolContext, ToolNode
# The methods below `@tool` are the tools of the node. A parameter with the type `ToolContext` is hidden from models.
from lanemesh import ToolContext, ToolNode, tool


class Weather(ToolNode):
    """Weather of cities."""

    @classmethod
    async def load(cls, config):
        return {"Oslo": 9}

    @tool(timeout=5)
    async def degrees(self, city: str, context: ToolContext) -> int:
        """Temperature of a city.

        Args:
            city: Its name in English.
        """
        context.progress(f"looking up {city}", 0.5)
        return self.resource[city]


print(Weather().tools()["degrees"].spec.parameters["properties"])
# -> {'city': {'type': 'string', 'description': 'Its name in English.'}}

# == What operators permit: not_permitted, matches_host
# `context.permissions` has what the operator of a node server lets tools do.
from lanemesh.extend import matches_host, not_permitted

print(matches_host("*.example.com", "api.example.com"))
print(not_permitted("tool_1", "run shell commands", "shell").fault.reason)
# -> True
# -> not-permitted

# == Tools of other servers: RemoteTools
# Any server of `lanemesh.v1.ToolService`, by its address. `call` yields the events of a call.
from lanemesh.extend import RemoteTools


async def connect():
    tools = RemoteTools("localhost:7070", timeout=30)  # connects with its first call
    await tools.close()
    print("closed")


asyncio.run(connect())
# -> closed

# == Tools outside runs: MeshTool
# The tools of deployed pipelines are listed and called without a pipeline. Each call is a run of the component that has the tool.
from lanemesh import Mesh, MeshTool

TOOLBOX = {"components": [{"id": "files_1", "provider": "tool_files", "config": {"root": "."}}]}


async def outside():
    async with Mesh() as mesh:
        await mesh.deploy("files", TOOLBOX)
        tools: list[MeshTool] = await mesh.tools()
        print(tools[0].deployment, tools[0].component)
        result = await mesh.call_tool(tools[0].name)
        print(result.is_error)


asyncio.run(outside())
# -> files files_1
# -> False

# == Runs from within a node: mesh_of
# `mesh_of(context)` is the mesh that a node runs in, with the interface of `Mesh` and `Client`.
from lanemesh import Deployed
from lanemesh.extend import mesh_of


async def summary(context: Context, text: str):
    async with mesh_of(context) as mesh:
        result = await mesh.run(Deployed("summary"), input=text, timeout=60).result()
        result.raise_for_state()
        return result.text


print(Deployed("summary").name)
# -> summary

# == Tools of services: ToolFunction, CallFailed, options_of, result_of
# `ToolNode.tools` may be overridden. A failure that a model can correct is a `CallFailed`.
from lanemesh.extend import CallFailed, ToolFunction, options_of, result_of


@tool(name="half")
def divide(number: int) -> int:
    """Half of an even number."""
    if number % 2:
        raise CallFailed("odd", f"{number} is odd; give an even number")
    return number // 2


print(options_of(divide).name, ToolFunction(divide, "this file").spec.description)
print(result_of("half", {"half": 2}).content)
# -> half Half of an even number.
# -> {"half": 2}

# == Errors: LanemeshError, Fault, Code
# Each error of Lanemesh has a fault with a reason that programs can rely on.
from lanemesh import Code, Fault, LanemeshError, Pipeline

try:
    Pipeline.from_dict({"components": 1})
except LanemeshError as error:
    fault: Fault = error.fault
    print(fault.code is Code.INVALID_ARGUMENT, fault.reason, isinstance(fault, Fault))
# -> True no-components True

# == A pipeline and a mesh: Pipeline, Mesh, Run, RunResult, RunState
# A run is read by its views, or to its end by `result()`.
from lanemesh import Run, RunResult, RunState

pipeline = Pipeline()
chat = pipeline.add("chat")
upper = pipeline.add("upper_case")
chat.text >> upper.text
upper.text >> pipeline.add("response", lane="text").text


async def once():
    async with Mesh() as mesh:
        run: Run = mesh.run(pipeline, input="hello mesh")
        print(await run.text())
        result: RunResult = await mesh.run(pipeline, input="again").result()
        print(result.values, result.state is RunState.COMPLETED)


asyncio.run(once())
# -> HELLO MESH
# -> ('AGAIN',) True

# == Requests: Request
# A request is a run of one input that is iterated over or awaited. Leaving it early cancels it.
from lanemesh import Request


async def ask():
    async with Mesh() as mesh:
        await mesh.deploy("shout", pipeline)
        request: Request = mesh.request("@shout", "one input", timeout=30)
        print((await request).text)
        async for value in mesh.request("@shout", "its values"):
            print(value)


asyncio.run(ask())
# -> ONE INPUT
# -> ITS VALUES

# == A run that fails: RunFailed
# The views raise after the last value; `result()` does not raise.
from lanemesh import RunFailed


async def failed():
    async with Mesh() as mesh:
        run = mesh.run(pipeline, open_input=True)
        await run.cancel("not needed")
        try:
            await run.text()
        except RunFailed as error:
            print(error.fault.reason, "not needed" in str(error))


asyncio.run(failed())
# -> cancelled True

# == Without await: SyncMesh, SyncRun, SyncRequest, SyncDetachedRun
# The same interface, with the event loop in a thread of its own.
from lanemesh import SyncDetachedRun, SyncMesh, SyncRequest, SyncRun

with SyncMesh() as mesh:
    run: SyncRun = mesh.run(pipeline, input="no await")
    print(run.text().all())
    request: SyncRequest = mesh.request(pipeline, "one input")
    print(request.all().values)
    started: SyncDetachedRun = mesh.start(pipeline, input="detached")
    print(mesh.attach(started.id).result().values)
# -> NO AWAIT
# -> ('ONE INPUT',)
# -> ('DETACHED',)

# == An orchestrator elsewhere: Client, DetachedRun, Deployed
# A client has the interface of a mesh. A detached run outlives its client.
from lanemesh import Client, Deployed, DetachedRun
from lanemesh_orchestrator.orchestrator import Orchestrator


async def elsewhere():
    orchestrator = Orchestrator(embedded=True)  # as `lanemesh serve` starts it
    await orchestrator.listen()
    async with Client(orchestrator.address) as client:
        run: DetachedRun = await client.start(pipeline, input="detached")
        print((await client.attach(run.id).result()).values)
        await client.deploy("shout", pipeline)
        print(await client.run(Deployed("shout"), input="deployed").text())
    await orchestrator.close()
    return orchestrator.address


address = asyncio.run(elsewhere())
# -> ('DETACHED',)
# -> DEPLOYED

# == Sessions: Session, SessionInfo, Turn, Conversation, SyncSession
# The orchestrator keeps a conversation: each run is a turn, whose question gets the earlier turns as its history.
from lanemesh import Conversation, Session, SessionInfo, SyncMesh, SyncSession, Turn

CHAT = Pipeline()
asked = CHAT.add("chat")
asked.text >> CHAT.add("response", lane="text").text


async def talk() -> None:
    async with Mesh() as mesh:
        session: Session = mesh.session(CHAT)
        await session.request("Hello").all()
        await session.request("Goodbye").all()
        turns: list[Turn] = await session.turns()
        info: SessionInfo = await session.info()
        print(info.title, [turn.question.text for turn in turns])
        again = Conversation(id=session.id, history_turns=5)
        print(await mesh.request(CHAT, "Once more", session=again).text())


asyncio.run(talk())
with SyncMesh() as mesh:
    session: SyncSession = mesh.session(CHAT)
    session.request("Hello").all()
    print(len(session.turns()))
# -> Hello ['Hello', 'Goodbye']
# -> Once more
# -> 1

# == Records: RunRecord, RunPage, DeploymentInfo, DeploymentState, NodeServerInfo, ServerHealth
# A `Mesh` and a `Client` return the same frozen values. Times are aware datetimes in UTC, durations are seconds.
from lanemesh import DeploymentInfo, DeploymentState, NodeServerInfo, RunPage, RunRecord, ServerHealth


async def records():
    async with Mesh() as mesh:
        run = mesh.run(pipeline, input="recorded")
        await run.result()
        record: RunRecord = await mesh.record(run.id)
        print(record.state, record.output_count, record.duration < 60, record.created_at.tzname())

        page: RunPage = await mesh.run_page(limit=10)
        print(len(page.runs), page.next_page == "")

        deployed: DeploymentInfo = await mesh.deploy("shout", pipeline)
        print(deployed.name, deployed.version, deployed.state is DeploymentState.READY)

        servers: list[NodeServerInfo] = await mesh.node_servers()  # an embedded mesh has none
        print([server.name for server in servers if server.health is ServerHealth.SERVING])


asyncio.run(records())
# -> completed 1 True UTC
# -> 1 True
# -> shout 1 True
# -> []

# == GPUs of a mesh: GpuReport, GpuDevice, GpuModel, GpuLease
# What `mesh.gpus()` and `client.gpus()` return: devices with their models, leases, and the requests that wait.
from lanemesh import GpuDevice, GpuLease, GpuModel, GpuReport


async def gpus():
    async with Mesh() as mesh:
        report: GpuReport = await mesh.gpus()
        devices: tuple[GpuDevice, ...] = report.devices
        models: list[GpuModel] = [model for device in devices for model in device.models]
        leases: tuple[GpuLease, ...] = report.leases + report.waiting
        print(len(models), len(leases))


asyncio.run(gpus())
# -> 0 0

# == Node types and faults of pipelines: NodeTypeInfo, InputInfo, OutputInfo, InvokesInfo, PipelineFault, PipelineInvalid, Severity
# `node_types()` describes what pipelines can use, `validate()` what is wrong with one.
from lanemesh import InputInfo, InvokesInfo, NodeTypeInfo, OutputInfo, PipelineFault, PipelineInvalid, Severity


async def checked():
    async with Mesh() as mesh:
        for node_type in await mesh.node_types(["agent_wave", "upper_case"]):
            match node_type:
                case NodeTypeInfo(provider="agent_wave", invokes=[InvokesInfo(class_type=kind), *_]):
                    print(f"agent calls a helper of the kind {kind}")
                case NodeTypeInfo(provider=name, inputs=[InputInfo(lane=taken)], outputs=[OutputInfo(lane=sent)]):
                    print(f"{name} takes {taken} and sends {sent}")

        wrong = {"components": [{"id": "a", "provider": "chta"}]}
        faults: list[PipelineFault] = await mesh.validate(wrong)
        print([(fault.pointer, fault.reason) for fault in faults if fault.severity is Severity.ERROR])
        try:
            await mesh.run(wrong).result()
        except PipelineInvalid as error:
            print(error.faults == tuple(faults))


asyncio.run(checked())
# -> agent calls a helper of the kind llm
# -> upper_case takes text and sends text
# -> [('/components/0/provider', 'unknown-provider')]
# -> True

# == A client without await: SyncClient
# A client dials at its first call.
from lanemesh import SyncClient

with SyncClient(address) as client:
    try:
        client.node_servers()
    except LanemeshError as error:
        print(error.fault.reason)
# -> unreachable

# == Updates of a run: Update, JobUpdate, Placement, EdgeShape, NodeUpdate, NodeState, EdgeUpdate, OutputUpdate, TraceUpdate
# `updates()` yields frozen values. Match on their types.
from lanemesh import (
    EdgeShape,
    EdgeUpdate,
    JobUpdate,
    NodeState,
    NodeUpdate,
    OutputUpdate,
    Placement,
    TraceUpdate,
    Update,
)


def show(update: Update):
    match update:
        case JobUpdate(
            state=RunState.RUNNING, placements=[Placement(component=first), *_], edges=[EdgeShape() as edge, *_]
        ):
            return f"running: {first} first, {edge.producer} to {edge.consumer}"
        case NodeUpdate(component="upper_case_1", state=NodeState.COMPLETED, firings=firings):
            return f"firings: {firings}"
        case EdgeUpdate(edge="chat_1.text>upper_case_1.text", drained=True, sent=sent):
            return f"sent: {sent}"
        case TraceUpdate(edge="chat_1.text>upper_case_1.text", summary=summary):
            return f"traced: {summary}"
        case OutputUpdate(component=component, value=value):
            return f"{component}: {value}"


with SyncMesh() as mesh:
    updates = list(mesh.run(pipeline, input="hi", trace="summary").updates())
print("\n".join(sorted({line for update in updates if (line := show(update))})))
# -> firings: 1
# -> response_1: HI
# -> running: chat_1 first, chat_1 to upper_case_1
# -> sent: 1
# -> traced: hi

# == Updates of agents: ToolUpdate, ThoughtUpdate, ToolCallUpdate, ToolProgressUpdate, ToolResultUpdate
# `run.tools()` yields what the agents of a run do.
from pathlib import Path

from lanemesh import ThoughtUpdate, ToolCallUpdate, ToolProgressUpdate, ToolResultUpdate, ToolUpdate


def step(update: ToolUpdate):
    match update:
        case ThoughtUpdate(wave=wave, text=text):
            return f"{wave} {text}"
        case ToolCallUpdate(wave=wave, call=call):
            return f"{wave} calls {call.name} {call.arguments}"
        case ToolProgressUpdate(wave=wave, message=message):
            return f"{wave} {message}"
        case ToolResultUpdate(wave=wave, name=name, content=content):
            return f"{wave} {name}: {content}"


with SyncMesh(folder=Path("examples")) as mesh:
    updates = list(mesh.run(Path("examples/agent.pipe"), input="Where is it warmer?").tools())
print(*sorted(step(update) for update in updates), sep="\n")
# -> 1 I need the weather in both cities.
# -> 1 asking the station in Lisbon
# -> 1 asking the station in Oslo
# -> 1 calls weather {"city": "Lisbon"}
# -> 1 calls weather {"city": "Oslo"}
# -> 1 weather: {"city": "Lisbon", "sky": "sunny", "degrees": 24}
# -> 1 weather: {"city": "Oslo", "sky": "rain", "degrees": 9}
# -> 2 Now the difference.
# -> 2 calculate: 15.0
# -> 2 calls calculate {"expression": "24 - 9"}

# == Progress, helpers and log lines: ProgressUpdate, HelperUpdate, LogUpdate, LogLevel
# A node reports progress by `context.progress` and log lines by `context.log`; a helper counts its calls.
from datetime import UTC, datetime

from lanemesh import HelperUpdate, LogLevel, LogUpdate, ProgressUpdate


def line(update: Update):
    match update:
        case ProgressUpdate(component=component, done=done, total=total):
            return f"{component}: {done:g} of {total:g}"
        case HelperUpdate(component=component, calls=calls):
            return f"{component}: {calls} calls"
        case LogUpdate(component=component, level=LogLevel.WARNING, message=message):
            return f"{component} warns: {message}"


now = datetime.now(UTC)
print(line(ProgressUpdate(sequence=1, time=now, component="darts_1", done=3, total=10)))
print(line(HelperUpdate(sequence=2, time=now, component="llm_1", calls=3)))
print(line(LogUpdate(sequence=3, time=now, component="darts_1", level=LogLevel.WARNING, message="few darts")))
# -> darts_1: 3 of 10
# -> llm_1: 3 calls
# -> darts_1 warns: few darts

# == Approvals: Approval, ApprovalUpdate, ApprovalState
# A node asks the clients of its run by `context.approval`; they answer by `run.approve(call_id)` or `run.refuse(call_id, reason)`.
from lanemesh import Approval, ApprovalState, ApprovalUpdate


def question(update: Update):
    match update:
        case ApprovalUpdate(state=ApprovalState.REQUESTED, call_id=call_id, tool=tool):
            return f"{call_id}: may {tool} be called?"


def outcome(decision: Approval):
    return "sent" if decision else f"not sent: {decision.reason}"


requested = ApprovalState.REQUESTED
print(question(ApprovalUpdate(sequence=4, time=now, component="a", call_id="c1", state=requested, tool="mail.send")))
print(outcome(Approval(approved=False, reason="not on Sundays")))
# -> c1: may mail.send be called?
# -> not sent: not on Sundays

# == For authors of services: in_thread, call_function, innermost
# `lanemesh.extend` has what node types need that run code of users. `call_function` calls a function of any kind.
from functools import wraps

from lanemesh.extend import call_function, in_thread, innermost


def twice(text: str):
    yield text
    yield text


@wraps(twice)
def decorated(*arguments):
    return twice(*arguments)


async def calls():
    return [value async for value in call_function(decorated, "ab")], await in_thread(str.upper, "ab")


print(asyncio.run(calls()), innermost(decorated) is twice)
# -> (['ab', 'ab'], 'AB') True

# == Items: Item, ABSENT, GroupOutcome
# A `run` node that assembles groups itself reads items. The value of an item that only ends a group is `ABSENT`.
from lanemesh.extend import ABSENT, GroupOutcome, Item


def is_end(item: Item) -> bool:
    group = item.envelope.group if item.envelope is not None else None
    return group is not None and group.last and group.outcome is GroupOutcome.OK


print(is_end(Item(ABSENT, 0, Envelope(group=Group("answer-1", index=2, last=True)))), is_end(Item("word", 4)))
# -> True False

# == Shared values: SharedCache
# What several components of one server share beyond the resources that `load` makes, such as one model under several settings.
from lanemesh.extend import SharedCache


async def free(key, loading):
    print("free", key, await loading)


async def load_model():
    return "a model"


async def shares():
    cache = SharedCache(free)
    both = await asyncio.gather(cache.acquire("small", load_model), cache.acquire("small", load_model))
    assert cache.release("small") is None
    await cache.release("small")
    return both


print(asyncio.run(shares()))
# -> free small a model
# -> ['a model', 'a model']

# == Code of users: UserCode, UserCodeFailed, Reloadable
# A node type whose `load` returns a `Reloadable` gets a new resource for the next run once the files have changed.
from pathlib import Path
from tempfile import TemporaryDirectory

from lanemesh.extend import Reloadable, UserCode, UserCodeFailed

with TemporaryDirectory() as folder:
    (Path(folder) / "mine.py").write_text("def double(number): return 2 * number")
    code: Reloadable = UserCode.of_file(Path(folder) / "mine.py")
    print(code.module.double(21), code.is_current())
    code.close()
try:
    UserCode.of_module("no_such_module")
except UserCodeFailed as error:
    print(error)
# -> 42 True
# -> ModuleNotFoundError: No module named 'no_such_module'

# == Programs of a service: close_in_children
# A program that a service starts ends when its standard input closes, although a forked child of the node server would hold a copy.
import subprocess

from lanemesh.extend import close_in_children

with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
    close_in_children(program.stdin)
    print(program.communicate("hello")[0])
# -> hello

# == JSON that lanes carry: read_json, to_json, copy_json, json_depth, rendered, MAX_JSON_DEPTH, INT_MIN, INT_MAX
# JSON texts of models and of functions of users, checked before they enter a lane.
from lanemesh.extend import INT_MAX, INT_MIN, MAX_JSON_DEPTH, copy_json, json_depth, read_json, rendered, to_json

print(read_json('{"a": [1, 2.5]}'), to_json({"set": {1}}), copy_json((1, 2)))
print(json_depth("[[1]]") <= MAX_JSON_DEPTH, INT_MIN <= -1 <= INT_MAX, rendered([1, 2]))
# -> {'a': [1, 2.5]} {"set": [1]} [1, 2]
# -> True True [1, 2]

# == Files as values: file_value, file_document, file_items, file_tags, FILE_NAME, missing_packages
# A file becomes a medium by its type, a document with its text, or a document that has the file itself. Large ones are sent in
# pieces. `missing_packages` returns which of the Python packages that reading needs are missing.
from lanemesh.extend import FILE_NAME, file_document, file_items, file_tags, file_value, missing_packages

print(file_value("a.md", b"# Vega").content, file_value("a.pdf", b"%PDF").file.mime_type)
large = file_document("b.bin", bytes(9 * 1024 * 1024))
print(sum(1 for piece in file_items(large)), file_tags("hello", "c.txt")["content_base64"])
print(Envelope(metadata={FILE_NAME: "a.pdf"}).metadata, missing_packages(["json", "no_such_package"]))
# -> # Vega application/pdf
# -> 9 aGVsbG8=
# -> {'file_name': 'a.pdf'} ('no_such_package',)

# == Calls through other clients: ChatClient, CallableTool
# A node may put its own clients between a model or tools and the code that it calls: `ChatClient` makes `chat` and `stream` of one
# method, `CallableTool` makes a tool callable.
from lanemesh import ToolResult
from lanemesh.extend import CallableTool, ChatClient


class Mimic(ChatClient):
    async def turn(self, request):
        yield ChatText(request.messages[-1].content)


class Shouting:
    async def stream(self, call, timeout=None):
        yield ToolResult(call.arguments.upper())


async def both():
    return (await Mimic().chat("hello")).text, await CallableTool(Shouting(), "shout")(word="hi")


print(asyncio.run(both()))
# -> ('hello', {'WORD': 'HI'})
