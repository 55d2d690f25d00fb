"""Random graphs whose nodes and error handlers fail, ask and are cached, until they get through."""

import operator
import random
from typing import Annotated, Any, TypedDict

from tests.compat.engines import Api, Raised

TURNS_MAX = 20


class State(TypedDict):
    log: Annotated[list, operator.add]
    seed: int


class Story:
    """One graph, drawn by a seed, and what its nodes did."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api = api
        self.chance = random.Random(seed)
        self.seed = seed
        self.runs: list[str] = []

    def node(self, name: str, fails: int, goto: str | None) -> Any:
        """Fails its first runs, then logs its name, and perhaps asks or commands."""
        asks = self.chance.random() < 0.15

        async def run(state: Any) -> Any:
            self.runs.append(name)
            if self.runs.count(name) <= fails:
                raise ConnectionError(name)
            return self._said([name], name if asks else None, goto)

        return run

    def handler(self, name: str, fails: int, goto: str | None) -> Any:
        """The same of an error handler, which logs what it was told."""
        asks = self.chance.random() < 0.15
        api, key = self.api, f"handler of {name}"

        async def run(state: Any, error: api.NodeError) -> Any:
            self.runs.append(key)
            if self.runs.count(key) <= fails:
                raise RuntimeError(key)
            told = error.error if isinstance(error.error, str) else repr(error.error)
            return self._said([[key, error.node, told]], key if asks else None, goto)

        return run

    def _said(self, log: list[Any], question: str | None, goto: str | None) -> Any:
        if question is not None:
            log.append(self.api.interrupt(question))
        update = {"log": log}
        return update if goto is None else self.api.Command(update=update, goto=goto)

    def build(self) -> Any:
        chance, graph = self.chance, self.api.StateGraph(State)
        names = [f"n{i}" for i in range(chance.randint(2, 6))]
        if chance.random() < 0.2:
            graph.set_node_defaults(error_handler=self.handler("all", chance.randint(0, 1), None))
        for i, name in enumerate(names):
            self._add(graph, name, names[i + 1 :])
        for name in chance.sample(names, chance.randint(1, min(3, len(names)))):
            graph.add_edge(self.api.START, name)
        for i, name in enumerate(names):
            for later in names[i + 1 :]:
                if chance.random() < 0.3:
                    graph.add_edge(name, later)
        return graph.compile(checkpointer=self.api.saver(), cache=self.api.InMemoryCache())

    def _add(self, graph: Any, name: str, later: list[str]) -> None:
        chance, options = self.chance, {}
        fails = 0

        def target() -> str | None:
            return chance.choice(later) if later and chance.random() < 0.4 else None

        if chance.random() < 0.4:
            fails = chance.choice([1, 2, 9])
            options["error_handler"] = self.handler(name, chance.choice([0, 0, 1]), target())
        elif chance.random() < 0.3:
            fails = chance.randint(1, 2)
        if chance.random() < 0.3:
            key = lambda state: repr([str(item) for item in state["log"]])  # noqa: E731
            options["cache_policy"] = self.api.CachePolicy(key_func=key)
        options["defer"] = chance.random() < 0.15
        graph.add_node(name, self.node(name, fails, target()), **options)

    async def play(self) -> Any:
        """Resume, and answer, until nothing is left to do; the last state."""
        graph, config = self.build(), self.api.thread()
        given: Any = {"log": [], "seed": self.seed}
        for _ in range(TURNS_MAX):
            chunks = await self.api.stream(graph, given, config, ["updates"])
            state = await self.api.state(graph, config)
            if not state.next:
                return state.values
            asked = [i.id for _, chunk in chunks[:-1] for i in chunk.get("__interrupt__", ())]
            last = chunks[-1]
            failed = isinstance(last, Raised)
            if not failed:
                asked += [i.id for i in last[1].get("__interrupt__", ())]
            given = self.api.Command(resume=dict.fromkeys(asked, "answer")) if asked else None
            given = None if failed else given
        raise AssertionError(f"seed {self.seed} does not come to an end: {self.runs}")
