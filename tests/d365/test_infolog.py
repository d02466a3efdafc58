"""F&O's own words: the Infolog in any language, exceptions inside exceptions, nothing that is not for reading."""

import json
import time

import pytest

from d365mcp.d365.infolog import MAX_FO_MESSAGES, MAX_MESSAGE_CHARS, has_infolog, messages_of

ENGLISH = "Write failed for table row of type 'CustGroupEntity'. Infolog: "
INFOLOGS = {
    "english": (
        ENGLISH + "Warning: Item 'L-1' is blocked for 'Purchase order'.; Warning: validateWrite failed on data source 'PurchLine (PurchLine)'.",
        ["Warning: Item 'L-1' is blocked for 'Purchase order'.", "Warning: validateWrite failed on data source 'PurchLine (PurchLine)'."],
    ),
    "a duplicate": (
        ENGLISH + "Info: Cannot create a record in Customer groups (CustGroup). Customer group: 91, MCP test.\nThe record already exists..",
        ["Info: Cannot create a record in Customer groups (CustGroup). Customer group: 91, MCP test.", "The record already exists."],
    ),
    "without full stops": (ENGLISH + "Info: Posted; Error: Update canceled", ["Info: Posted", "Error: Update canceled"]),
    "german": (
        "Fehler beim Schreiben der Tabellenzeile vom Typ 'CustGroupEntity'. Infolog: Warnung: Die Gruppe 99 fehlt.; Fehler: Die Aktualisierung wurde abgebrochen..",
        ["Warnung: Die Gruppe 99 fehlt.", "Fehler: Die Aktualisierung wurde abgebrochen."],
    ),
    "danish": (
        ENGLISH + "Advarsel: Debitorgruppen 99 findes ikke.; Fejl: Opdateringen er annulleret..",
        ["Advarsel: Debitorgruppen 99 findes ikke.", "Fejl: Opdateringen er annulleret."],
    ),
    "french": (
        "L'écriture de la ligne de type 'CustGroupEntity' a échoué. Infolog : Avertissement : Le groupe 99 n'existe pas.; Erreur : Mise à jour annulée..",
        ["Avertissement : Le groupe 99 n'existe pas.", "Erreur : Mise à jour annulée."],
    ),
    "japanese": (
        "種類 'CustGroupEntity' のテーブル行の書き込みに失敗しました。情報ログ: 警告: 顧客グループ 99 は存在しません。; エラー: 更新がキャンセルされました。",
        ["警告: 顧客グループ 99 は存在しません。", "エラー: 更新がキャンセルされました。"],
    ),
    "arabic": (
        "فشلت كتابة صف الجدول من النوع 'CustGroupEntity'. سجل المعلومات: تحذير: مجموعة العملاء 99 غير موجودة.; خطأ: تم إلغاء التحديث..",
        ["تحذير: مجموعة العملاء 99 غير موجودة.", "خطأ: تم إلغاء التحديث."],
    ),
}  # fmt: skip


def error(message: str, **inner: object) -> bytes:
    innererror = {"message": message, "type": "X", "stacktrace": "   at Y", **inner}
    return json.dumps({"error": {"code": "", "message": "An error has occurred.", "innererror": innererror}}).encode()


@pytest.mark.parametrize("language", INFOLOGS)
def test_an_infolog_is_split_in_any_language(language: str) -> None:
    message, entries = INFOLOGS[language]
    frame, *found = messages_of(error(message))
    assert found == entries
    assert "'CustGroupEntity'" in frame
    assert not frame.endswith(":")
    assert has_infolog(message)


@pytest.mark.parametrize(
    "message",
    [
        "Could not find a property named 'Nme' on type 'Microsoft.Dynamics.DataEntities.CustomerV3'.",
        "Exception occurred while executing action submit on Entity SalesOrderHeader: Journal: posted",
        "Object reference not set to an instance of an object.",
        "See https://example.org: it says: nothing",
        "Error: a: b",
        "",
    ],
)
def test_other_messages_are_no_infolog(message: str) -> None:
    assert not has_infolog(message)


def test_exceptions_inside_exceptions_are_reported_the_innermost_first() -> None:
    body = {
        "Message": "An error has occurred.",
        "ExceptionMessage": "Exception has been thrown by the target of an invocation.",
        "ExceptionType": "System.Reflection.TargetInvocationException",
        "StackTrace": "   at System.RuntimeMethodHandle.InvokeMethod",
        "InnerException": {
            "Message": "An error has occurred.",
            "ExceptionMessage": "Customer 99 does not exist.",
            "ExceptionType": "Microsoft.Dynamics.Ax.Xpp.ErrorException",
            "StackTrace": "   at Dynamics.AX",
        },
    }
    assert messages_of(json.dumps(body).encode()) == (
        "Customer 99 does not exist.",
        "Exception has been thrown by the target of an invocation.",
    )
    inside = {"message": "Update has been canceled.", "type": "Y"}
    assert messages_of(error("Write failed.", internalexception=inside)) == (
        "Update has been canceled.",
        "Write failed.",
    )


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"error":{"code":"","message":"An error has occurred."}}', ("An error has occurred.",)),
        (b'{"Message":"No HTTP resource was found."}', ("No HTTP resource was found.",)),
        (b"<html>sign in</html>", ()),
        (b'{"error":"x"}', ()),
        (b"{", ()),
        (b"", ()),
    ],
)
def test_whatever_comes_is_read(body: bytes, found: tuple[str, ...]) -> None:
    assert messages_of(body) == found


def test_messages_are_few_short_and_without_stacks_and_tokens() -> None:
    (line,) = messages_of(error("Denied for eyJhbGciOi.eyJzdWIi.c2ln\r\n   at Secret.Place()"))
    assert line == "Denied for (token)"
    many = messages_of(error(ENGLISH + "; ".join(f"Error: {number} {'x' * 900}" for number in range(40))))
    assert len(many) == MAX_FO_MESSAGES
    assert max(map(len, many)) <= MAX_MESSAGE_CHARS


@pytest.mark.parametrize("text", ["a: " * 20_000, "x" * 60_000, "; a" * 20_000, "'a'" * 20_000, "'a'" + ": " * 30_000])
def test_long_messages_are_read_quickly(text: str) -> None:
    began = time.process_time()
    messages_of(error(text))
    has_infolog(text[:20_000])
    assert time.process_time() - began < 1
