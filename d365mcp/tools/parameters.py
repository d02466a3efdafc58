"""Parameters that several tools share, described once."""

from typing import Annotated, Any, Literal

from pydantic import Field

EntityName = Annotated[str, Field(description="e.g. CustomersV3", max_length=200)]
Columns = Annotated[list[str] | None, Field(description="Properties wanted", max_length=400)]
Expand = Annotated[
    list[str] | None, Field(description="Navigation properties, first level; Nav($select=A,B)", max_length=20)
]
Company = Annotated[str | None, Field(description="Legal entity, e.g. usmf", max_length=10)]
RecordKey = Annotated[
    dict[str, Any], Field(description='All parts, e.g. {"dataAreaId":"usmf","CustomerAccount":"US-001"}', max_length=30)
]
Language = Annotated[str | None, Field(description="e.g. en-US", max_length=20)]
Format = Literal["records", "csv"]
