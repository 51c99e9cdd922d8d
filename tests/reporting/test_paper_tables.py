import pytest

from lightrnn_pl.reporting.paper_tables import PaperRow, is_small, paper_row, paper_tables


def test_every_table_has_a_title_a_source_and_rows():
    tables = paper_tables()
    for name in [*(f"lightrnn_table{number}" for number in range(2, 6)), *(f"slim_table{n}" for n in range(2, 8))]:
        table = tables[name]
        assert "arXiv" in table.source and f"Table {name[-1]}" in table.title
        assert table.rows and all(key == row.row and row.printed for key, row in table.rows.items())


@pytest.mark.parametrize(
    ("table", "row", "perplexity", "parameters"),
    [
        ("lightrnn_table2", "1000", 176, 17e6),
        ("lightrnn_table4", "KN", 68, 2e9),
        ("lightrnn_table5", "LightRNN french", 176, 17e6),
        ("slim_table2", "SE 10K dropout 0.1", 88.37, None),
        ("slim_table3", "SE 1K", 82.62, None),
        ("slim_table4", "SE russian", 274, 19e6),
        ("slim_table5", "MOE", 28.0, None),  # ">4.37G" is a bound, not a number
    ],
)
def test_numbers_of_a_row(table, row, perplexity, parameters):
    paper = paper_tables()[table].rows[row]
    assert (paper.perplexity, paper.parameters) == (perplexity, parameters)


def test_shares_and_bounds_are_kept_as_printed():
    assert paper_tables()["slim_table5"].rows["MOE"].printed["parameters"] == ">4.37G"
    assert paper_tables()["slim_table2"].rows["SE 6.25K"].number("input_size") == pytest.approx(0.0625)
    assert paper_tables()["slim_table2"].rows["NE dropout 0.5"].printed["perplexity"] == "91.10"


def test_a_configuration_names_its_row():
    row = paper_row({"paper": {"table": "slim_table2", "row": "SE 10K", "scale": "small"}})
    assert row is paper_tables()["slim_table2"].rows["SE 10K"]
    assert paper_row({"paper": None}) is None and paper_row({}) is None


def test_a_number_names_a_row_too():
    assert paper_row({"paper": {"table": "lightrnn_table2", "row": 200}}).label == "LightRNN 200"


def test_a_row_without_printed_values():
    row = paper_row({"paper": {"table": "slim_figure4", "row": "SM 1/8", "scale": "paper"}})
    assert row == PaperRow("slim_figure4", "SM 1/8", "SM 1/8") and row.perplexity is None


def test_every_scale_but_the_papers_is_small():
    assert is_small({"paper": {"table": "slim_table2", "row": "NE", "scale": "small"}})
    assert not is_small({"paper": {"table": "slim_table2", "row": "NE", "scale": "paper"}})
    assert not is_small({"paper": None})
