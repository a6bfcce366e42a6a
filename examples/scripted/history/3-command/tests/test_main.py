from tally.__main__ import main


def test_a_file_is_read_and_reported(tmp_path, capsys):
    file = tmp_path / "text"
    file.write_text("to be or not to be")
    assert main([str(file)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "    2  be"
