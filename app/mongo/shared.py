"""Shared reads: threads that read the same kind of thing at the same time share one query.

A caller that comes while a query is under way waits for the next query, so that it still
sees everything committed before it asked. This is not a cache, because answers are not kept.
A lone caller does not wait.
"""

import copy
import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class _Question(Generic[Key, Found]):
    """One caller's keys, and the answer or error."""

    __slots__ = ("_turn", "answer", "error", "keys", "leads")

    def __init__(self, keys: Collection[Key]) -> None:
        self.keys = keys
        self.answer: dict[Key, Found] | None = None
        self.error: BaseException | None = None
        self.leads = False
        # Locked until it is this caller's turn. A plain lock costs a third of an Event.
        self._turn = threading.Lock()
        self._turn.acquire()

    def wait(self) -> None:
        self._turn.acquire()

    def wake(self) -> None:
        self._turn.release()


class SharedRead(Generic[Key, Found]):
    """Answers `read` by calling `find` once with the keys of all waiting callers.

    `find` returns a mapping of those keys that exist. At most `keys_max` keys share a query,
    but a single caller's keys are never split.
    """

    def __init__(self, find: Callable[[Collection[Key]], Mapping[Key, Found]], *, keys_max: int = 500) -> None:
        self._find = find
        self._keys_max = keys_max
        self._mutex = threading.Lock()
        self._waiting: list[_Question[Key, Found]] = []
        self._is_busy = False

    def read(self, keys: Collection[Key]) -> dict[Key, Found]:
        """Return the found values by key; raises what `find` raises."""
        question: _Question[Key, Found] = _Question(keys)
        with self._mutex:
            self._waiting.append(question)
            question.leads = not self._is_busy
            self._is_busy = True
        if not question.leads:
            try:
                question.wait()
            except BaseException:
                self._leave(question)
                raise
        if question.leads:
            self._lead()
        if question.error is not None:
            # A copy, because raising an exception adds the raising thread's traceback to it.
            raise copy.copy(question.error) from question.error
        assert question.answer is not None
        return question.answer

    def _leave(self, question: _Question[Key, Found]) -> None:
        """Remove a caller that was interrupted while it waited, from the queue and from the lead."""
        with self._mutex:
            if question in self._waiting:
                self._waiting.remove(question)
            successor = self._hand_on() if question.leads else None
        if successor is not None:
            successor.wake()

    def _hand_on(self) -> _Question[Key, Found] | None:
        """Give the lead to the question that has waited longest, and return it, if any. The mutex must be held."""
        successor = self._waiting[0] if self._waiting else None
        if successor is not None:
            successor.leads = True
        self._is_busy = successor is not None
        return successor

    def _lead(self) -> None:
        """Query for the waiting callers, wake them, and hand the lead to the first that came meanwhile."""
        asked: list[_Question[Key, Found]] = []
        try:
            with self._mutex:
                asked = self._take()
            self._ask(asked)
        except Exception as error:  # noqa: BLE001 -- it belongs to all callers, in their own threads
            for question in asked:
                question.error = error
        except BaseException:
            # This thread is being interrupted. The next leader queries for the others.
            with self._mutex:
                self._waiting[:0] = [question for question in asked if not question.leads]
            asked = []
            raise
        finally:
            with self._mutex:
                successor = self._hand_on()
            for question in asked:
                if not question.leads:
                    question.wake()
            if successor is not None:
                successor.wake()

    def _take(self) -> list[_Question[Key, Found]]:
        count = taken = 0
        for question in self._waiting:
            taken += len(question.keys)
            if count and taken > self._keys_max:
                break
            count += 1
        asked, self._waiting = self._waiting[:count], self._waiting[count:]
        return asked

    def _ask(self, asked: list[_Question[Key, Found]]) -> None:
        if len(asked) == 1:
            found = self._find(asked[0].keys)
        else:
            found = self._find({key for question in asked for key in question.keys})
        for question in asked:
            question.answer = {key: found[key] for key in question.keys if key in found}
