"""Outputs as people and pipes read them."""

from pathlib import Path

from lanemesh.v1 import lane_pb2, update_pb2
from lanemesh_orchestrator.cli.output.files import OutputFile
from lanemesh_orchestrator.cli.output.printer import MAX_HELD_BYTES, Printer, render_table

from unit.cli.updates import Page, output

Answer, Usage = lane_pb2.Answer, lane_pb2.Usage


def printed(*updates: update_pb2.Update, finish: bool = True) -> str:
    """What these outputs put on standard output."""
    page = Page()
    printer = Printer(page, {})
    for update in updates:
        printer.show(update.output)
    if finish:
        printer.finish()
    return page.text


def test_pieces_of_an_answer_share_a_line_that_the_last_one_ends() -> None:
    pieces = [output(group="g", answer=Answer(text=text)) for text in ("The ", "sky")]
    end = output(group="g", last=True, answer=Answer(finish_reason="stop", usage=Usage(completion_tokens=2)))

    assert printed(*pieces, finish=False) == "The sky"
    assert printed(*pieces, end, output(text="next")) == "The sky\nnext\n"


def test_items_that_are_no_pieces_have_a_line_each_and_keep_their_own_line_ends() -> None:
    assert printed(output(text="a"), output(text=""), output(text="b\n"), output(text="c")) == "a\n\nb\nc\n"


def test_a_line_that_a_failed_run_left_open_is_ended() -> None:
    assert printed(output(group="g", text="half an ans")) == "half an ans\n"


def test_the_pieces_of_one_whole_stay_together_while_others_wait() -> None:
    mixed = [
        output("a", "1", text="one "),
        output("b", "2", text="two "),
        output("c", text="whole"),
        output("b", "2", last=True, text="done"),
        output("a", "1", last=True, text="done"),
    ]

    assert printed(*mixed) == "one done\ntwo done\nwhole\n"


def test_what_waits_for_a_long_whole_is_printed_when_it_gets_too_much() -> None:
    waiting = [output("b", "2", text="x" * (MAX_HELD_BYTES // 4)) for _ in range(5)]

    shown = printed(output("a", "1", text="begun"), *waiting, finish=False)

    assert shown.startswith("begun\nxxx")
    assert shown.count("x") == 5 * (MAX_HELD_BYTES // 4)


def test_json_is_a_line_each_and_an_answer_with_both_shows_its_text_once() -> None:
    assert (
        printed(output(data_json='{"a":1}'), output(data_json='"b"'), output(tags_json='{"k":null}'))
        == '{"a":1}\n"b"\n{"k":null}\n'
    )
    both = [
        output(group="g", answer=Answer(text='{"a": 1}')),
        output(group="g", last=True, answer=Answer(data_json='{"a":1}')),
    ]
    assert printed(*both) == '{"a": 1}\n'
    assert printed(output(answer=Answer(data_json='{"a":1}'))) == '{"a":1}\n'


def test_an_answer_that_is_cut_off_is_noted_once(tmp_path: Path) -> None:
    pieces = [
        output("r", "g", answer=Answer(text="half an ans")),
        output("r", "g", last=True, answer=Answer(finish_reason="length")),
    ]
    for files in ({}, {"r": OutputFile("r", str(tmp_path / "a.txt"))}):
        page = Page()
        printer = Printer(page, files)

        for update in pieces:
            printer.show(update.output)

        assert [note.split(":")[:2] for note in page.notes] == [["r", " the answer is truncated (length)"]]


def test_documents_questions_and_places_of_media_are_text() -> None:
    shown = printed(
        output(document=lane_pb2.Document(content="page\n")),
        output(question=lane_pb2.Question(text="why?")),
        output(image=lane_pb2.Media(mime_type="image/png", uri="https://example.org/a.png")),
    )

    assert shown == "page\nwhy?\nhttps://example.org/a.png\n"


def test_a_table_is_csv_in_a_pipe_and_drawn_on_a_terminal() -> None:
    rows = [
        lane_pb2.TableRow(cells_json=cells)
        for cells in (["1", '"x"'], ["null", '"say \\"hi\\", ü"'], ["[1,2]", "true"])
    ]
    table = lane_pb2.Table(columns=["a", "b"], rows=rows)

    assert render_table(table) == 'a,b\n1,x\n,"say ""hi"", ü"\n"[1, 2]",true\n'
    assert "┃ a" in render_table(table, 60)


def test_media_goes_to_its_file_and_is_described_without_one(tmp_path: Path) -> None:
    page = Page()
    file = OutputFile("pictures_1", str(tmp_path / "a.png"))
    printer = Printer(page, {"pictures_1": file})
    model = lane_pb2.Media(mime_type="image/png", content=b"12345")

    printer.show(output("other_1", image=model).output)
    printer.show(output("pictures_1", image=model).output)
    printer.show(output("pictures_1", image=lane_pb2.Media(mime_type="image/png", content=b"67")).output)

    assert page.text == ""
    assert page.notes[0] == "<image/png, 5 bytes: use --output other_1=FILE>"
    assert (tmp_path / "a.png").read_bytes() == b"12345"
    assert (tmp_path / "a-2.png").read_bytes() == b"67"


def test_pieces_of_one_recording_make_one_file(tmp_path: Path) -> None:
    file, page = OutputFile("speech_1", str(tmp_path / "a.wav")), Page()
    printer = Printer(page, {"speech_1": file})

    for last, content in ((False, b"ab"), (True, b"cd")):
        media = lane_pb2.Media(mime_type="audio/wav", content=content)
        printer.show(output("speech_1", "g", last=last, audio=media).output)

    assert (tmp_path / "a.wav").read_bytes() == b"abcd"
    assert file.sizes == {str(tmp_path / "a.wav"): 4}
    assert page.notes == [f"wrote {tmp_path / 'a.wav'} (audio/wav, 4 bytes)"]


def test_pieces_of_recordings_that_alternate_make_a_whole_file_each(tmp_path: Path) -> None:
    page = Page()
    printer = Printer(page, {"speech_1": OutputFile("speech_1", str(tmp_path / "a.wav"))})

    for group, content, last in (
        ("1", b"a", False),
        ("2", b"cc", False),
        ("1", b"b", True),
        ("2", b"d", False),
        ("2", b"", True),
    ):
        media = lane_pb2.Media(mime_type="audio/wav", content=content)
        printer.show(output("speech_1", group, last=last, audio=media).output)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.wav": b"ab", "a-2.wav": b"ccd"}
    written = [f"{tmp_path / 'a.wav'} (audio/wav, 2 bytes)", f"{tmp_path / 'a-2.wav'} (audio/wav, 3 bytes)"]
    assert page.notes == [f"wrote {one}" for one in written]


def test_the_pieces_of_one_whole_stay_together_in_each_file_and_in_the_bytes_of_standard_output(tmp_path: Path) -> None:
    def mixed(component: str) -> list[update_pb2.OutputUpdate]:
        pieces = [("1", "one ", False), ("2", "two ", False), ("2", "done", True), ("1", "done", True)]
        return [output(component, group, last=last, text=text).output for group, text, last in pieces]

    page, paths = Page(), [tmp_path / "a.txt", tmp_path / "b.txt"]
    files = {path.stem: OutputFile(path.stem, str(path)) for path in paths} | {"c": OutputFile("c", "-")}
    printer = Printer(page, files)
    for several in zip(*map(mixed, ("a", "b", "c", "other")), strict=True):
        for one in several:
            printer.show(one)
    printer.finish()

    assert [path.read_text() for path in paths] == ["one done\ntwo done\n"] * 2
    assert page.text == "one done\none done\ntwo done\ntwo done\n"


def test_a_file_gets_what_waits_for_a_whole_that_does_not_end(tmp_path: Path) -> None:
    printer = Printer(Page(), {"r": OutputFile("r", str(tmp_path / "a.txt"))})

    printer.show(output("r", "1", text="begun").output)
    printer.show(output("r", "2", text="whole", last=True).output)
    printer.finish()

    assert (tmp_path / "a.txt").read_text() == "begun\nwhole\n"


def test_text_goes_to_its_file_line_by_line_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old and longer")
    page = Page()
    printer = Printer(page, {"r": OutputFile("r", str(path))})

    printer.show(output("r", text="a").output)
    printer.show(output("r", text="b").output)

    assert path.read_text() == "a\nb\n"
    assert page.text == ""


def test_bytes_reach_standard_output_where_it_is_asked_for() -> None:
    page = Page()
    printer = Printer(page, {"r": OutputFile("r", "-")})

    printer.show(output("r", image=lane_pb2.Media(mime_type="image/png", content=b"\x89PNG")).output)

    assert page.shown == b"\x89PNG"


def test_the_file_of_a_document_is_written_like_media(tmp_path: Path) -> None:
    file = lane_pb2.Media(mime_type="application/pdf", content=b"%PDF")
    unread = output(document=lane_pb2.Document(source="a.pdf", file=file))
    page = Page()
    printer = Printer(page, {unread.output.component: OutputFile(unread.output.component, str(tmp_path / "copy.pdf"))})

    assert printer.write_media(unread.output) == str(tmp_path / "copy.pdf")
    assert (tmp_path / "copy.pdf").read_bytes() == b"%PDF"
    assert printed(output(document=lane_pb2.Document(content="read", file=file))) == "read\n"
