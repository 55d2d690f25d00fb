"""Answers to questions that say what an answer must look like."""

from __future__ import annotations

from typing import Any

from stepwell.errors import UsageError, mark_invalid_resume


class AnswerCheck:
    """A `response_schema`: as JSON schema to be shown, and as a check of the answer.

    A dict is JSON schema already and checks nothing.

    Raises:
        UsageError: The schema is a type, and pydantic, which reads it, is not installed.
    """

    __slots__ = ("_adapter", "_schema")

    def __init__(self, schema: type[Any] | dict[str, Any] | None) -> None:
        self._schema = schema
        self._adapter: Any = None
        if schema is None or isinstance(schema, dict):
            return
        try:
            from pydantic import TypeAdapter  # an extra, and heavy
        except ImportError:
            msg = (
                f"interrupt(response_schema={schema!r:.80}) needs pydantic to validate answers: "
                "pip install 'stepwell[pydantic]', or give a JSON schema as a dict."
            )
            raise UsageError(msg) from None
        self._adapter = TypeAdapter(schema)

    def shown(self) -> dict[str, Any] | None:
        """The JSON schema that goes with the question."""
        return self._schema if self._adapter is None else self._adapter.json_schema()  # type: ignore[return-value]

    def __call__(self, answer: Any) -> Any:
        """The answer as an object of the schema.

        Raises:
            pydantic.ValidationError: It does not fit; marked for `is_invalid_resume`.
        """
        if self._adapter is None:
            return answer
        try:
            return self._adapter.validate_python(answer)
        except Exception as exc:
            mark_invalid_resume(exc)
            raise


__all__ = ["AnswerCheck"]
