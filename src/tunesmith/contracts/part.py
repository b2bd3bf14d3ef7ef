"""What all parts of a configuration have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith.core import Settings

if TYPE_CHECKING:
    pass


class Part(Settings):
    """Settings whose names may not be those of what a part says of itself."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name in cls.model_fields:
            if any(isinstance(vars(base).get(name), property) for base in cls.__mro__):
                raise TypeError(
                    f"{cls.__name__}.{name}: a setting of this name would never be read, as a part "
                    "says something of itself by it; call the setting otherwise."
                )
