"""The rules of Bicep's own linter that infra/bicepconfig.json makes errors, where a name or a text is enough to judge.

https://learn.microsoft.com/azure/azure-resource-manager/bicep/linter
"""

import re
from collections.abc import Iterator

from tests.infra.bicep.modules import type_of
from tests.infra.bicep.syntax import BicepFile, Problem, segments, walk

# The linter reads descriptions too: https://github.com/Azure/bicep/issues/2959
OF_ONE_CLOUD = re.compile(
    r"(?<![a-z0-9])(api\.loganalytics\.io|azuredatalakeanalytics\.net|azuredatalakestore\.net|core\.windows\.net"
    r"|database\.windows\.net|datalake\.azure\.net|gallery\.azure\.com|graph\.windows\.net|login\.microsoftonline\.com"
    r"|(?<!schema\.)management\.azure\.com|asazure\.windows\.net|trafficmanager\.net|vault\.azure\.net)(?![a-z0-9])",
    re.IGNORECASE,
)
SECRET = re.compile(r"password|pwd|secret(?!permissions|version|ur[il]|name)|accountkey|acctkey", re.IGNORECASE)


def lint_problems(file: BicepFile) -> Iterator[Problem]:
    """Yield addresses of one cloud, secrets in parameters that are not secure, and outputs named like secrets."""
    for node in walk(file.root):
        for piece in segments(node) if node.type == "string" and node.is_named else ():
            if isinstance(piece, str) and (found := OF_ONE_CLOUD.search(piece)):
                yield file.problem(
                    node, f"{found[0]} is of one cloud only: take it from environment(), or leave it out."
                )
    for each in file.of("parameter").values():
        text_or_object = type_of(each).removesuffix("?") in ("string", "object")
        if text_or_object and SECRET.search(each.name) and "secure" not in each.decorators:
            yield file.problem(each.node, f"the parameter {each.name} sounds like a secret: add @secure().")
    for each in file.of("output").values():
        if "password" in each.name.lower():
            yield file.problem(each.node, f"the output {each.name} sounds like a secret: rename or remove it.")
