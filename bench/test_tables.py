"""What the tables say of runs: `python3 -m unittest discover -s bench`."""

import pathlib
import tempfile
import unittest

import tables
from scenes import CPU, SCENES, TARGETS, Target

CLEAN = dict.fromkeys(tables.FAULTS, 0)


def line(scene, server, round_, **report):
    return {
        "scene": scene,
        "server": server,
        "round": round_,
        "start_ms": 5.0,
        "report": {"faults": CLEAN, "deliveries": 10} | report,
    }


class Tables(unittest.TestCase):
    def test_a_ratio_is_taken_inside_each_round(self):
        # The machine is twice as slow in the second round, which no ratio should show.
        runs = tables.Runs(
            line("paced-100", server, round_, us_per_delivery=cost * slow)
            for round_, slow in enumerate((1, 2, 1))
            for server, cost in (("skynet", 4.0), ("uws", 5.0))
        )
        target = Target("", CPU, "paced-100", beside="uws", must=1.05)
        self.assertAlmostEqual(runs.ratio(target), 0.8)
        self.assertEqual(runs.median("paced-100", "skynet", CPU), 4.0)

    def test_a_round_that_failed_is_in_no_median_and_is_told(self):
        runs = tables.Runs(
            [
                line("paced-100", "skynet", 0, us_per_delivery=4.0),
                {"scene": "paced-100", "server": "skynet", "round": 1, "problem": "it has ended\nwith 1"},
            ]
        )
        self.assertEqual(runs.median("paced-100", "skynet", CPU), 4.0)
        self.assertIn("- skynet, paced-100: it has ended", tables.wrong(runs))

    def test_losses_are_told_with_the_server_and_the_scene(self):
        lost = line("many", "ws", 0, faults=CLEAN | {"lost": 1234})
        self.assertIn("- ws, many: 1,234 lost", tables.wrong(tables.Runs([lost])))
        clean = tables.wrong(tables.Runs([line("many", "ws", 0)]))
        self.assertIn("10 deliveries were checked, in 1 run; none was lost", clean)

    def test_a_missed_target_says_by_how_much(self):
        both = [
            line("many", "skynet", 0, us_per_delivery=12.6),
            line("many", "floor-each", 0, us_per_delivery=10.0),
        ]
        text = tables.targets(tables.Runs(both))
        self.assertIn("| 1.26 | ≤ 1.05 | ≤ 0.97 | must missed (by 20 %), aim missed (by 30 %) |", text)

    def test_a_setting_is_beside_skynet_in_a_table_of_its_own_and_no_column(self):
        runs = tables.Runs(
            line("paced-100", server, 0, us_per_delivery=cost, delay_us={"p99": p99})
            for server, cost, p99 in (("skynet", 4.0, 600), ("pace2", 1.0, 4100), ("uws", 5.0, 700))
        )
        self.assertEqual(runs.servers, ["skynet", "uws"])
        self.assertIn("| `pace2` | 100 listeners, 1000/s | 0.25 | 0.6 → 4.1 |", tables.settings(runs))
        self.assertIsNone(tables.settings(tables.Runs([line("many", "skynet", 0, us_per_delivery=4.0)])))

    def test_figures_have_three_digits_that_count_and_no_exponent(self):
        shown = {
            0: "0",
            0.00002: "0.00002",
            0.4147: "0.415",
            12.34: "12.3",
            1234567.8: "1,234,568",
            None: "–",
        }
        self.assertEqual({value: tables.number(value) for value in shown}, shown)

    def test_a_server_without_figures_has_no_column(self):
        runs = tables.Runs([line("closed-1", "skynet", 0, us_per_delivery=1.0), line("alone", "ws", 0)])
        text = tables.table(runs, "CPU", ("closed",), lambda *of: tables.number(runs.median(*of, CPU)))
        self.assertIn("| scene | skynet |\n", text)

    def test_only_what_is_between_the_markers_of_a_page_is_written(self):
        with tempfile.TemporaryDirectory() as folder:
            page = pathlib.Path(folder, "page.md")
            page.write_text(f"Before.\n{tables.BEGIN}\nold\n{tables.END}\nAfter.\n")
            tables.write(page, "new")
            self.assertEqual(page.read_text(), f"Before.\n{tables.BEGIN}\n\nnew\n\n{tables.END}\nAfter.\n")
            page.write_text("No markers.\n")
            with self.assertRaisesRegex(ValueError, "must hold one line"):
                tables.write(page, "new")

    def test_targets_are_of_scenes_that_there_are(self):
        names = {scene.name for scene in SCENES}
        self.assertEqual(len(names), len(SCENES))
        for target in TARGETS:
            self.assertIn(target.scene, names)
            self.assertIn(target.beside_scene or target.scene, names)


if __name__ == "__main__":
    unittest.main()
