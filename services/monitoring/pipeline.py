"""What flows from the log to the readers, how far behind each is, and what was left out."""

from __future__ import annotations

from services.monitoring.panels import RED, YELLOW, Dashboard, Panel, Query

_AWAY = "the service can't be reached"
_NO_REPLAY = "no replay runs"

PIPELINE = Dashboard(
    uid="freshet-pipeline",
    title="Pipeline",
    about="What flows, how far behind each stage is, what is left out, what texts say.",
    sections={
        "What flows?": [
            Panel(
                title="How many events a second passes each stage?",
                about="All lines lie on one another while every stage keeps up. One below the others holds events up.",
                unit="eps",
                queries=[
                    Query("sum(rate(freshet_replay_events_total[$__rate_interval]))", "replay: sent"),
                    Query("sum(rate(freshet_features_states_total[$__rate_interval]))", "features: described"),
                    Query("sum(rate(freshet_trainer_applied_events_total[$__rate_interval]))", "trainer: learned"),
                    Query("avg(rate(freshet_inference_applied_total[$__rate_interval]))", "inference: applied"),
                    Query("sum(rate(freshet_evaluator_applied_events_total[$__rate_interval]))", "evaluator: applied"),
                ],
                empty=_AWAY,
                width=12,
            ),
            Panel(
                title="What kinds of events come?",
                about="Described by features; tick is replay's own mark of how far event time has come.",
                unit="eps",
                queries=[
                    Query("sum by (kind) (rate(freshet_features_events_total[$__rate_interval]))", "{{kind}}"),
                ],
                empty=_AWAY,
                width=12,
                stacked=True,
            ),
        ],
        "How far behind is each stage?": [
            Panel(
                title="How long has the last applied event been in the log?",
                about="Wall time. A line that climbs is a stage that does not keep up or whose broker is away; "
                "features' line stays where it was while nothing comes.",
                unit="s",
                queries=[
                    Query("max by (job) (freshet_features_lag_seconds)", "features"),
                    Query("max by (job) (freshet_trainer_lag_seconds)", "trainer"),
                    Query("max by (job) (freshet_inference_lag_seconds)", "inference"),
                    Query("max by (job) (freshet_evaluator_lag_seconds)", "evaluator"),
                ],
                empty=_AWAY,
                steps=[(60.0, RED)],
            ),
            Panel(
                title="How far behind the newest event is each stage in event time?",
                about="By the events' own time: days of a replay may be seconds on the clock.",
                unit="dtdurations",
                queries=[
                    Query("max by (job) (freshet_features_event_time_lag_seconds)", "features"),
                    Query("max by (job) (freshet_trainer_event_time_lag_seconds)", "trainer"),
                    Query("max by (job) (freshet_inference_event_time_lag_seconds)", "inference"),
                    Query("max by (job) (freshet_evaluator_event_time_lag_seconds)", "evaluator"),
                ],
                empty=_AWAY,
            ),
            Panel(
                title="How many states wait for other partitions?",
                about="trainer and evaluator take events in one order over all partitions, so they hold back what a "
                "silent partition might still precede.",
                unit="short",
                queries=[
                    Query("freshet_trainer_waiting_states", "trainer"),
                    Query("freshet_evaluator_waiting_states", "evaluator"),
                ],
                empty=_AWAY,
            ),
            Panel(
                title="How far has the replay come?",
                about="Share of its events that the broker has acknowledged, and how far ordering the dataset is.",
                unit="percentunit",
                queries=[
                    Query("freshet_replay_progress_ratio", "sent"),
                    Query("freshet_replay_ordering_progress_ratio", "ordered"),
                ],
                empty=_NO_REPLAY,
                maximum=1.0,
            ),
            Panel(
                title="How late is the replay?",
                about="Against its pace. Late means that the broker or the disk is slower than the pace: choose a "
                "slower one.",
                unit="s",
                queries=[Query("freshet_replay_behind_seconds", "late")],
                empty=_NO_REPLAY,
                steps=[(60.0, RED)],
            ),
            Panel(
                title="Do all workers of features have partitions?",
                about="Partitions of events that each reads. A worker with none is idle; together they read all.",
                unit="short",
                queries=[Query("freshet_features_partitions", "{{instance}}")],
                empty=_AWAY,
                stacked=True,
            ),
        ],
        "What is left out?": [
            Panel(
                title="Which records go to the dead letters, and why?",
                about="Records a second that could not be understood, by reason. `freshet dead-letters show` lists "
                "them, and `freshet dead-letters replay` sends them again once their sender is fixed.",
                unit="recps",
                queries=[
                    Query("sum by (reason) (rate(freshet_features_dead_letters_total[$__rate_interval]))", "{{reason}}")
                ],
                empty=_AWAY,
                stacked=True,
            ),
            Panel(
                title="How many dead letters were there in the last hour?",
                about="By reason.",
                unit="short",
                queries=[
                    Query("sum by (reason) (increase(freshet_features_dead_letters_total[1h])) > 0", "{{reason}}"),
                    Query("sum(increase(freshet_features_dead_letters_total[1h]))", "all"),
                ],
                empty="none",
                kind="stat",
                decimals=0,
                steps=[(1, YELLOW), (100, RED)],
            ),
            Panel(
                title="Which lines of the dataset were left out, and why?",
                about="Since the replay began. `freshet data inspect FILE` shows examples.",
                unit="short",
                queries=[
                    Query("sum by (reason) (freshet_replay_rejected_lines_total) > 0", "{{reason}}"),
                    Query("sum(freshet_replay_rejected_lines_total)", "all"),
                ],
                empty=_NO_REPLAY,
                kind="stat",
                steps=[(1, YELLOW)],
            ),
            Panel(
                title="How many events came twice, late, or unreadable?",
                about="States a second. Those that come twice count once: after a kill there are some. Late ones are "
                "older than their user's newest, as a live shop beside a backfill has them.",
                unit="recps",
                queries=[
                    Query("sum(rate(freshet_trainer_repeats_total[$__rate_interval]))", "trainer: twice"),
                    Query("sum(rate(freshet_trainer_late_total[$__rate_interval]))", "trainer: late"),
                    Query("sum(rate(freshet_trainer_unreadable_total[$__rate_interval]))", "trainer: unreadable"),
                    Query("sum(rate(freshet_inference_repeats_total[$__rate_interval]))", "inference: twice"),
                    Query("sum(rate(freshet_inference_late_total[$__rate_interval]))", "inference: late"),
                    Query("sum(rate(freshet_inference_unreadable_total[$__rate_interval]))", "inference: unreadable"),
                ],
                empty=_AWAY,
            ),
            Panel(
                title="What do events lack?",
                about="Share of the events whose price, helpfulness, rating or text was missing and filled in.",
                unit="percentunit",
                queries=[
                    Query(
                        "sum by (what) (rate(freshet_features_imputed_total[5m]))"
                        ' / scalar(sum(rate(freshet_features_events_total{kind!="tick"}[5m])))',
                        "{{what}}",
                    )
                ],
                empty="no event came in the last five minutes",
            ),
            Panel(
                title="How long does describing take?",
                about="A batch until the broker has its states, and one text's sentiment within it; 95th percentile.",
                unit="s",
                queries=[
                    Query(
                        f"histogram_quantile(0.95, sum by (le) (rate(freshet_features_{name}_seconds_bucket[5m])))",
                        label,
                    )
                    for name, label in (("batch", "batch"), ("vader", "one text"))
                ],
                empty="no event came in the last five minutes",
            ),
        ],
        "What do texts and events say?": [
            Panel(
                title="How does the sentiment of texts change?",
                about="Texts a second by the sign of their compound score: negative to -0.05, positive from 0.05.",
                unit="recps",
                queries=[
                    Query(
                        "sum by (sentiment) (rate(freshet_features_reviews_total[$__rate_interval]))", "{{sentiment}}"
                    )
                ],
                empty="no text came",
                stacked=True,
            ),
            Panel(
                title="How is sentiment distributed?",
                about="Texts a second in each range of the compound score, from -1 to 1; each row is named by its "
                "upper end.",
                unit="recps",
                queries=[Query("sum by (le) (rate(freshet_features_sentiment_bucket[$__rate_interval]))", "{{le}}")],
                empty="no text came",
                kind="heatmap",
                minimum=None,
            ),
            Panel(
                title="How are rewards distributed?",
                about="Events a second in each range of the reward, from -1 to 1; each row is named by its upper end.",
                unit="eps",
                queries=[Query("sum by (le) (rate(freshet_features_reward_bucket[$__rate_interval]))", "{{le}}")],
                empty="no event came",
                kind="heatmap",
                minimum=None,
            ),
        ],
    },
)
