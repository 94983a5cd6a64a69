"""Which server takes which component."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lanemesh.features import FEATURES, Feature
from lanemesh.model_users import MAX_DEVICES, MAX_MODELS, MAX_SETTINGS
from lanemesh.v1 import registry_pb2
from lanemesh_orchestrator.scheduling.gpus import NO_GPUS, DeviceCapacity, GpuNeed, ServerGpus
from lanemesh_orchestrator.scheduling.requirements import NoCapacity, NoServer, Requirement, least_loaded


@dataclass(slots=True, eq=False)
class Stated:
    """A server with given properties."""

    name: str
    providers: str = "x"
    """One letter for each node type."""
    active_instances: int = 0
    max_instances: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    closed_because: str = ""
    is_silent: bool = False
    gpus: ServerGpus = NO_GPUS
    features: Collection[str] = FEATURES

    missing: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Missing packages by node type."""

    def runs(self, provider: str) -> bool:
        return provider in self.providers

    def lacks(self, provider: str) -> Collection[str]:
        return self.missing.get(provider, ())


def requirements(text: str) -> list[Requirement]:
    """One component for each letter, which is its node type."""
    return [Requirement(f"{provider}{number}", provider) for number, provider in enumerate(text)]


def names(text: str, *servers: Stated, full: str = "") -> str:
    """The servers chosen for these node types, in their order."""
    chosen = least_loaded(requirements(text), servers, full=full)
    return "".join(chosen[requirement.component].name for requirement in requirements(text))


def test_the_least_busy_server_takes_a_component_and_counts_it() -> None:
    assert names("x", Stated("a", active_instances=2), Stated("b", active_instances=1)) == "b"
    counts = Counter(names("xxxxx", Stated("a", active_instances=2), Stated("b", active_instances=1)))
    assert counts == {"a": 2, "b": 3}


def test_of_equals_the_one_that_the_run_uses_already() -> None:
    assert (
        names("xy", Stated("a", "x"), Stated("b", "y", active_instances=1), Stated("c", "y", active_instances=0))
        == "ac"
    )
    assert names("yx", Stated("a", "x", active_instances=1), Stated("b", "xy")) == "bb"


def test_a_full_server_gets_nothing_and_the_run_moves_together_for_whom_has_no_choice() -> None:
    assert names("xx", Stated("a", max_instances=1), Stated("b", active_instances=9, max_instances=10)) == "ab"
    assert names("xxxy", Stated("a", "xy", max_instances=2), Stated("b", "x", active_instances=5)).count("a") == 2
    assert names("x", Stated("a"), Stated("b", active_instances=9), full="a") == "b"


def test_labels_must_all_be_there() -> None:
    servers = [Stated("a", labels={"gpu": "a100"}), Stated("b", labels={"gpu": "a100", "zone": "1"})]
    both = Requirement("c", "x", {"gpu": "a100", "zone": "1"})
    assert least_loaded([both], servers)["c"].name == "b"
    with pytest.raises(NoServer) as caught:
        least_loaded([Requirement("c", "x", {"zone": "2"})], [*servers, Stated("d")])
    assert (
        "no node server that runs it has the labels zone=2; available: a: gpu=a100, b: gpu=a100, zone=1, d: none"
        in str(caught.value)
    )
    assert "--label zone=2" in str(caught.value)
    assert caught.value.fault.reason == "no-server"


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        ([], "no node server runs it"),
        ([Stated("a", "y")], "no node server runs it"),
        ([Stated("a", closed_because="is draining")], "every node server that runs it is draining"),
        (
            [Stated("a", closed_because="is draining"), Stated("b", closed_because="cannot be reached: gone")],
            "a is draining, b cannot be reached: gone",
        ),
    ],
)
def test_the_error_names_why_no_server_accepts_runs(servers: list[Stated], why: str) -> None:
    with pytest.raises(NoServer, match=why):
        least_loaded(requirements("x"), servers)


def test_a_silent_server_is_used_where_no_other_will_do() -> None:
    silent = Stated("a", "xy", is_silent=True)
    assert names("xy", silent, Stated("b", "x", active_instances=9)) == "ba"


def test_only_the_home_will_do() -> None:
    home = Requirement("c", "x", home="a")
    assert least_loaded([home], [Stated("a", active_instances=9), Stated("b")])["c"].name == "a"
    with pytest.raises(NoServer):
        least_loaded([home], [Stated("b")])


def test_full_servers_are_named_with_their_load() -> None:
    servers = [Stated("a", active_instances=8, max_instances=8), Stated("b"), Stated("c", "y")]
    with pytest.raises(NoCapacity) as caught:
        least_loaded(requirements("yx"), servers, full=["b"])
    assert caught.value.servers == {"a", "b"}
    assert caught.value.fault.reason == "no-capacity"
    assert "a runs 8 of at most 8 components, b reports that it is full" in str(caught.value)
    assert "--max-instances" in str(caught.value)


def test_servers_without_are_as_if_they_were_not_there() -> None:
    assert (
        least_loaded(requirements("x"), [Stated("a"), Stated("b", active_instances=3)], without=["a"])["x0"].name == "b"
    )


@given(
    st.lists(
        st.tuples(st.sampled_from(["x", "y", "xy", "z", "xyz"]), st.integers(0, 2), st.integers(0, 3)),
        min_size=1,
        max_size=4,
    ),
    st.text("xyz", min_size=1, max_size=4),
)
def test_servers_are_found_whenever_there_are_some(told: list[tuple[str, int, int]], text: str) -> None:
    """Against every way of placing the run."""
    servers = [
        Stated(chr(ord("a") + number), providers, active, most) for number, (providers, active, most) in enumerate(told)
    ]

    def fits(chosen: tuple[Stated, ...]) -> bool:
        added = Counter(server.name for server in chosen)
        with_capacity = all(
            not server.max_instances or server.active_instances + added[server.name] <= server.max_instances
            for server in servers
            if added[server.name]
        )
        return with_capacity and all(server.runs(provider) for server, provider in zip(chosen, text, strict=True))

    def possible(among: list[Stated]) -> bool:
        return any(fits(chosen) for chosen in product(among, repeat=len(text)))

    if not all(any(server.runs(provider) for server in servers) for provider in text):
        with pytest.raises(NoServer):
            least_loaded(requirements(text), servers)
    elif possible(servers):
        chosen = least_loaded(requirements(text), servers)
        assert fits(tuple(chosen[requirement.component] for requirement in requirements(text)))
    else:
        with pytest.raises(NoCapacity) as caught:
            least_loaded(requirements(text), servers)
        others = [server for server in servers if server.name not in caught.value.servers]
        assert caught.value.servers
        assert not possible(others)
        for server in servers:
            server.max_instances *= 1 if server.name in caught.value.servers else 100
        assert not possible(servers)  # capacity of other servers does not help


def test_a_component_goes_only_to_a_server_with_the_features_that_it_needs() -> None:
    requirement = Requirement("c", "x", features=frozenset({Feature.JOINS}))
    old, new = Stated("old", features=()), Stated("new", active_instances=9)
    assert least_loaded([requirement], [old, new])["c"] is new
    with pytest.raises(
        NoServer, match=r'"c" of the node type "x": it needs the feature joins .* and old lacks joins'
    ) as caught:
        least_loaded([requirement], [old])
    fault = caught.value.fault
    assert (fault.reason, fault.details["features"], fault.details["servers"]) == ("missing-feature", "joins", "old")
    assert "Install a version" in fault.message


def test_a_component_goes_only_to_a_server_with_its_packages() -> None:
    requirement = Requirement("c", "x", install="pip install 'lanemesh[documents]'")
    lacking = Stated("a", missing={"x": ("markitdown",)})
    whole = Stated("b", active_instances=9)
    assert least_loaded([requirement], [lacking, whole])["c"] is whole
    with pytest.raises(
        NoServer, match=r"a lacks markitdown\. Run there: pip install 'lanemesh\[documents\]'"
    ) as caught:
        least_loaded([requirement], [lacking])
    assert (caught.value.fault.reason, caught.value.fault.details["servers"]) == ("missing-extra", "a")


GIB = 1 << 30


def with_gpu(free: int, *, leases: int = 0) -> ServerGpus:
    return ServerGpus(devices={"cuda:0": DeviceCapacity(free * GIB, leases)})


def placed(*servers: Stated, gibs: int | None = None, device: str = "", count: int = 1) -> str:
    """The server of a component with a model that needs so much of a GPU; None: unknown."""
    need = None if gibs is None else GpuNeed(gibs * GIB, device, count)
    return least_loaded([Requirement("c", "x", settings="model", gpu=need)], servers)["c"].name


def test_a_component_goes_where_its_model_is_then_where_memory_is_free_then_to_the_least_loaded() -> None:
    idle, free = Stated("idle"), Stated("free", active_instances=1, gpus=with_gpu(24))
    loaded = Stated("loaded", active_instances=7, gpus=ServerGpus(frozenset({"model"})))
    assert placed(idle, free, loaded, gibs=10) == "loaded"
    assert placed(idle, free, gibs=10) == "free"
    assert placed(idle, free, gibs=25) == "idle"
    assert placed(idle, free) == "idle"
    assert placed(idle, loaded) == "loaded"


def test_a_server_with_many_more_components_is_not_preferred_for_its_gpus() -> None:
    loaded = Stated("loaded", active_instances=8, gpus=ServerGpus(frozenset({"model"})))
    assert placed(Stated("idle"), loaded) == "idle"


def test_gpus_refuse_no_component() -> None:
    full = Stated("full", active_instances=1, max_instances=1, gpus=ServerGpus(frozenset({"model"})))
    assert placed(full, Stated("other", gpus=with_gpu(1)), gibs=10) == "other"


def test_the_device_the_number_and_the_leases_of_devices_count() -> None:
    used, unused = Stated("used", gpus=with_gpu(24, leases=1)), Stated("unused", active_instances=1, gpus=with_gpu(8))
    assert placed(used, unused, gibs=0) == "unused"
    assert placed(used, unused, gibs=8, device="cuda:0") == "used"
    assert placed(unused, Stated("idle"), gibs=8, device="cuda:1") == "idle"
    two = ServerGpus(devices={name: DeviceCapacity(8 * GIB, 0) for name in ("cuda:0", "cuda:1")})
    assert placed(used, Stated("two", active_instances=1, gpus=two), gibs=8, count=2) == "two"


def test_components_of_one_run_do_not_count_on_the_same_memory() -> None:
    one, other = Stated("one", gpus=with_gpu(24)), Stated("other", active_instances=3, gpus=with_gpu(24))
    needs = [Requirement(name, "x", settings=name, gpu=GpuNeed(10 * GIB)) for name in "abc"]
    assert Counter(server.name for server in least_loaded(needs, [one, other]).values()) == {"one": 2, "other": 1}


def test_of_a_report_what_is_beyond_the_limits_is_ignored() -> None:
    model = registry_pb2.LoadedGpuModel(settings=[str(number) for number in range(MAX_SETTINGS + 1)])
    many = registry_pb2.GpuReport(
        models=[registry_pb2.LoadedGpuModel(settings=[f"m{number}"]) for number in range(MAX_MODELS + 1)],
        devices=[registry_pb2.GpuCapacity(device=str(number)) for number in range(MAX_DEVICES + 1)],
    )
    assert len(ServerGpus.of(registry_pb2.GpuReport(models=[model])).settings) == MAX_SETTINGS
    assert (len(ServerGpus.of(many).settings), len(ServerGpus.of(many).devices)) == (MAX_MODELS, MAX_DEVICES)
