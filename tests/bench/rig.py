"""The server, and a kernel for each subject, kept for the length of the benchmark."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from answers import Shape
from kernel import CellError, Kernel
from serving import ServerProcess
from subjects import Subject
from turns import Turn

_WARM_UP = Shape(chunks=40, rate=400)


class BenchmarkSession:
    """Asks subjects questions in kernels that are warm: everything imported, one answer already shown."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = list(subjects)
        self.failed: dict[str, str] = {}
        self._stack = ExitStack()
        self._byte_code = self._stack.enter_context(TemporaryDirectory(prefix="bench-byte-code-"))
        self._kernels: dict[tuple[str, bool], Kernel] = {}

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(ServerProcess())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def working_subjects(self) -> list[Subject]:
        """The subjects that answer a first question; one that does not is reported and left out."""
        for subject in list(self.subjects):
            try:
                self.kernel(subject)
            except CellError as failure:
                self.drop(subject, failure)
        return self.subjects

    def drop(self, subject: Subject, failure: CellError) -> None:
        """Leave a subject out of the rest."""
        self.note(subject.name, failure)
        self.subjects.remove(subject)

    def note(self, what: str, failure: CellError) -> None:
        """Report something that could not be run, and go on."""
        print(f"{what} fails to run:\n{failure}", file=sys.stderr, flush=True)
        self.failed[what] = str(failure)

    def new_kernel(self, subject: Subject, tls: bool = False) -> Kernel:
        """A new kernel with the subject's environment, nothing loaded yet; to be entered by the caller."""
        base = self.server.tls_base if tls else self.server.base
        environment = {"PYTHONPYCACHEPREFIX": self._byte_code, **subject.environment(base)}
        if tls:
            environment |= dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), str(self.server.authority))
        return Kernel(subject.python, environment)

    def kernel(self, subject: Subject, tls: bool = False) -> Kernel:
        """The subject's warm kernel."""
        key = (subject.name, tls)
        if key not in self._kernels:
            kernel = self._stack.enter_context(self.new_kernel(subject, tls))
            kernel.run(subject.load)
            self.set_up(kernel, subject, tls)
            self.server.set_answer(_WARM_UP)
            self.ask_in(kernel, subject, _WARM_UP)
            self._kernels[key] = kernel
        return self._kernels[key]

    def set_up(self, kernel: Kernel, subject: Subject, tls: bool = False) -> None:
        """Run what a subject needs once it is loaded."""
        if code := subject.setup(self.server.tls_base if tls else self.server.base):
            kernel.run(code)

    def ask(self, subject: Subject, shape: Shape, tls: bool = False) -> Turn:
        """One whole answer of that shape in the subject's warm kernel."""
        kernel = self.kernel(subject, tls)
        self.server.set_answer(shape)
        return self.ask_in(kernel, subject, shape)

    def ask_in(self, kernel: Kernel, subject: Subject, shape: Shape) -> Turn:
        """One answer in a given kernel; the shape has been ordered."""
        if subject.prepare:
            kernel.run(subject.prepare)
        execution = kernel.run(subject.cell, shape.text(), subject.mime)
        records = self.server.records()
        if len(records) != 1 or not records[0].whole:
            raise CellError(f"{subject} made {len(records)} chat requests, or left before the end")
        return Turn(shape, execution, records[0])

    def rounds(self, count: int, *more: Subject) -> Iterator[list[Subject]]:
        """The subjects in an order that turns about, A B, B A, A B …, so that drift falls on all alike."""
        for number in range(count):
            order = [subject for subject in (*more, *self.subjects) if not (number and subject.slow)]
            yield order if number % 2 == 0 else order[::-1]
