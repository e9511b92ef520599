"""One simulated world: processes of the bank and clients on one database, and a judge who sees everything."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from app import audit
from app.accounts import service as accounts
from app.auth.roles import roles_of
from app.errors import DomainError, LedgerBusy, ServiceUnavailable
from app.ledger import posting
from app.ledger.commands import Command
from app.ledger.group import GroupCommit
from app.ledger.records import Outcome
from app.outbox import repository as outbox
from app.settings.policies import LedgerPolicy
from app.transactions import service as transactions
from tests.simulator import faults as fault_rates
from tests.simulator.database import ScriptedDatabase
from tests.simulator.judge import Judge
from tests.simulator.requests import STAFF, Request, Wishes, command_of
from tests.simulator.schedule import Event, Schedule, Task
from tests.simulator.server import Server

ANSWER_TIMEOUT_S = 25.0
RESTART_S_MAX = 3.0
REST_STEPS_MAX = 20_000
# A repeat may race with the first delivery, or come long after it.
DUPLICATE_DELAYS_S_MAX = (0.005, 1.0, 30.0)

WITNESSES = [audit.record_acts, outbox.tell]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client is told: an `outcome`, a `refusal` by its code, or that it is to `ask_again`."""

    ask_again: bool = False
    refusal: str | None = None
    transaction: ObjectId | None = None
    results: tuple["Answer", ...] = ()
    account: ObjectId | None = None
    is_repeat: bool = False


class Process:
    """One worker process of the bank, which dies and is replaced."""

    def __init__(self, world: "World", number: int, life: int) -> None:
        self.name = f"p{number}.{life}"
        self.number, self.life = number, life
        self.is_alive = True
        self.tasks: list[Task] = []
        self.clock_offset = timedelta()
        self.group = GroupCommit(world.policy, self._post_block)

    def _post_block(self, commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        return posting.post_block(commands, timeout_s, WITNESSES, roles_of)


class World:
    """Runs one seed. `run` raises Wrong, with the trace in `schedule`, as soon as the judge finds a law broken."""

    def __init__(self, seed: int) -> None:
        self.schedule = Schedule(seed)
        chance = self.schedule.chance
        self.chosen = self.faults = fault_rates.choose(chance)
        self.judge = Judge()
        self.server = Server(self.schedule, self.judge.committed)
        self.database = ScriptedDatabase(self.schedule, self.server, self.faults)
        self.judge.is_durable = lambda number: number <= self.server.durable
        self.policy = LedgerPolicy(batch_size_max=chance.choice([1, 3, 10, 200]), timeout_ms=10_000)
        users = [ObjectId(f"{number:024x}") for number in range(1, chance.randint(2, 5) + 1)]
        self.users = users
        self.wishes = Wishes(chance, users, ["INR", "EUR"][: chance.randint(1, 2)])
        self.processes: list[Process] = []
        self.clients_busy = 0
        self.is_closing = False
        self._clients = chance.randint(2, 12)
        self._think_s = chance.choice([0.001, 0.05, 1.0])

    def run(self, steps: int) -> None:
        """Take so many steps, then end all faults, let everything come to rest, and have the judge close the books."""
        self._open()
        while self.schedule.steps < steps:
            self.schedule.step()
            self._strike()
        self.is_closing = True
        self.faults = self.database.faults = fault_rates.Faults()
        for process in self.processes:
            process.clock_offset = timedelta()
        until = self.schedule.steps + REST_STEPS_MAX
        while self.clients_busy:
            self.judge.insist(self.schedule.steps < until, "the clients never get an answer")
            self.schedule.step()
        self.judge.at_rest({name: self.server.all_documents(name) for name in self.judge.collections})

    @property
    def summary(self) -> str:
        """What came of it all."""
        statuses = Counter(record.get("status", record["kind"]) for record in self.judge.records.values())
        return ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))

    def post(self, commands: Sequence[Command]) -> list[Outcome]:
        """Post in the process that the running task belongs to. This stands where `app.ledger` has its one group."""
        return self.current_process.group.post(commands)

    @property
    def current_process(self) -> Process:
        assert self.schedule.current is not None
        process = self.schedule.current.owner
        assert isinstance(process, Process)
        return process

    @property
    def host_clock(self) -> Any:
        """The time that the running task's host shows, in whole milliseconds."""
        owner = self.schedule.current.owner if self.schedule.current else None
        now = self.schedule.now + (owner.clock_offset if isinstance(owner, Process) else timedelta())
        return now.replace(microsecond=now.microsecond // 1_000 * 1_000)

    def _open(self) -> None:
        people = self.server.begin()
        for user in (*self.users, STAFF):
            role = "SYSTEM" if user == STAFF else "USER"
            self.server.insert("users", {"_id": user, "email": str(user), "role": role}, people)
        self.server.insert("schema", {"_id": "schema"}, people)
        self.server.commit(people, to_majority=True)
        for number in range(self.schedule.chance.randint(1, 3)):
            self.processes.append(self._started(number, 0))
        for number in range(self._clients):
            self.clients_busy += 1
            user = self.users[number % len(self.users)]
            self.schedule.start(f"c{number}", self, lambda user=user: self._client(user))  # type: ignore[misc]

    def _started(self, number: int, life: int) -> Process:
        process = Process(self, number, life)
        if self.schedule.happens(self.faults.wrong_clock):
            process.clock_offset = timedelta(seconds=self.schedule.chance.choice([-3600, -8, 8, 3600]))
        process.tasks.append(self.schedule.start(f"{process.name} sweep", process, self._sweep))
        return process

    def _strike(self) -> None:
        """Have a fault of the world itself, between any two steps."""
        if self.schedule.happens(self.faults.crash):
            self._crash(self.schedule.chance.choice(self.processes))
        if self.schedule.happens(self.faults.failover):
            self.schedule.note("FAILOVER")
            self.server.fail_over()
        if self.schedule.happens(0.01):
            self.server.replicate()

    def _crash(self, process: Process) -> None:
        if not process.is_alive:
            return
        self.schedule.note(f"CRASH of {process.name}")
        process.is_alive = False
        for task in process.tasks:
            if task.in_flight is not None and self.schedule.happens(0.5):
                # The message had left the process before it died.
                try:
                    task.in_flight()
                except PyMongoError as error:
                    self.schedule.note(f"too late: {error}")
            self.schedule.kill(task)

        def restart() -> None:
            self.schedule.sleep(self.schedule.chance.random() * RESTART_S_MAX)
            self.processes[process.number] = self._started(process.number, process.life + 1)

        self.schedule.start(f"restart {process.number}", self, restart)

    def _sweep(self) -> None:
        """Release expired holds as a worker's background task does."""
        while True:
            try:
                pause_s = transactions.release_expired_holds()
            except (PyMongoError, DomainError) as error:
                self.schedule.note(f"sweep failed: {type(error).__name__}")
                pause_s = 2.0
            self.schedule.sleep(max(pause_s, 0.001))

    def _client(self, user: ObjectId) -> None:
        """Ask for one thing after another, each until its outcome is known."""
        chance = self.schedule.chance
        self._ask(self.wishes.opening(user))
        while not self.is_closing:
            self.schedule.sleep(chance.random() * self._think_s)
            if self.wishes.accounts:
                self._ask(self.wishes.next())
        self.clients_busy -= 1

    def _ask(self, request: Request) -> None:
        self.judge.asked(request)
        self.schedule.note(f"asks {request}")
        while (answer := self._send(request)) is None or answer.ask_again:
            self.schedule.sleep(0.05 + self.schedule.chance.random())
            request = retried(request)
            self.judge.asked(request)
        self._remember(request, answer)

    def _send(self, request: Request) -> Answer | None:
        """Send a request to one of the processes and return its answer, or None if there is none in time."""
        box: list[Answer] = []
        arrived = Event(self.schedule)

        def deliver(answer: Answer) -> None:
            if not self.schedule.happens(self.faults.lost_answer):
                box.append(answer)
                arrived.set()

        if not self._handle(request, deliver):
            return None
        if self.schedule.happens(self.faults.duplicate):
            delay_s = self.schedule.chance.random() * self.schedule.chance.choice(DUPLICATE_DELAYS_S_MAX)

            def later() -> None:
                self.schedule.sleep(delay_s)
                self._handle(request, lambda _answer: None)

            self.schedule.start(f"late {request.number}", self, later)
        arrived.wait(ANSWER_TIMEOUT_S)
        return box[0] if box else None

    def _handle(self, request: Request, deliver: Any) -> bool:
        """Give a request to a thread of some process; return whether there is one."""
        process = self.schedule.chance.choice(self.processes)
        if not process.is_alive:
            return False

        def thread() -> None:
            try:
                answer = self._carried_out(request)
            except (LedgerBusy, ServiceUnavailable, PyMongoError) as error:
                self.schedule.note(f"request {request.number}: {type(error).__name__}")
                answer = Answer(ask_again=True)
            self.schedule.note(f"answers request {request.number} with {answer}")
            self.judge.answered(request, answer)
            deliver(answer)

        process.tasks = [task for task in process.tasks if not task.is_done]
        process.tasks.append(self.schedule.start(f"{process.name} r{request.number}", process, thread))
        return True

    def _carried_out(self, request: Request) -> Answer:
        if request.call != "open":
            return told(self.post([command_of(request)])[0])
        asked = {"currency": request.currency}
        try:
            account, is_repeat = accounts.open_account_once(
                user_id=request.user, currency=request.currency, name=None, key=request.key, asked=asked
            )
        except (LedgerBusy, ServiceUnavailable):
            raise
        except DomainError as refusal:
            return Answer(refusal=refusal.code)
        return Answer(account=account["_id"], is_repeat=is_repeat)

    def _remember(self, request: Request, answer: Answer) -> None:
        """Let the clients know of what the answer brought into being."""
        if answer.refusal is not None:
            return
        if answer.account is not None and request.call == "open":
            known = (answer.account, request.user, request.currency)
            if known not in self.wishes.accounts:
                self.wishes.accounts.append(known)
                self._ask(self.wishes.funding(answer.account, request.currency))
        elif request.call == "hold" and answer.transaction is not None:
            assert request.payer is not None
            assert request.payee is not None
            self.wishes.holds.append((answer.transaction, request.payer, request.payee))
            self.wishes.moved.append(answer.transaction)
        elif answer.transaction is not None:
            self.wishes.moved.append(answer.transaction)


def retried(request: Request) -> Request:
    """Return the request as its client sends it again: the same, under the same key."""
    return replace(request)


def told(outcome: Outcome) -> Answer:
    """Return an outcome as the HTTP layer would tell it, in plain values."""
    error = outcome.error
    if isinstance(error, LedgerBusy | ServiceUnavailable):
        return Answer(ask_again=True)
    return Answer(
        refusal=None if error is None else error.code,
        transaction=None if outcome.transaction is None else outcome.transaction.id,
        results=tuple(map(told, outcome.results)),
        account=None if outcome.account is None else outcome.account.id,
        is_repeat=outcome.replayed,
    )
