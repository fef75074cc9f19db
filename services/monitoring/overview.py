"""Is it healthy, how fresh, how good, how fast? For whoever looks once a day, or was just woken."""

from __future__ import annotations

from services.monitoring.panels import GREEN, RED, STARTS, VERSIONS, YELLOW, Dashboard, Panel, Query

_AWAY = "Prometheus reaches no service"
_YES_NO = {"0": ("no", RED), "1": ("yes", GREEN)}

OVERVIEW = Dashboard(
    uid="freshet-overview",
    title="Overview",
    about="Is it healthy, how fresh, how good, how fast?",
    marks=(STARTS, VERSIONS),
    sections={
        "Is it healthy?": [
            Panel(
                title="Which services can be reached?",
                about="Whether Prometheus got the metrics of each at its last try; several processes of a service "
                "count as one, and the worst of them shows. A service that is away: see its log.",
                unit="none",
                queries=[Query('min by (job) (up{job!="prometheus"})', "{{job}}")],
                empty=_AWAY,
                kind="stat",
                width=12,
                height=4,
                steps=[(0, RED), (1, GREEN)],
                names=_YES_NO,
            ),
            Panel(
                title="Which services can do their work?",
                about="1 while a service's loop turns; inference once it has read the log to its end. A service that "
                "stays at no: its log says what it waits for.",
                unit="none",
                queries=[Query('min by (job) ({__name__=~"freshet_.+_ready"})', "{{job}}")],
                empty=_AWAY,
                kind="stat",
                width=12,
                height=4,
                steps=[(0, RED), (1, GREEN)],
                names=_YES_NO,
            ),
            Panel(
                title="What is wrong now?",
                about="Alerts that fire. The description of each says what it means and what to do about it, under "
                "Alerts in Prometheus.",
                unit="none",
                queries=[
                    Query('count by (alertname) (ALERTS{alertstate="firing"}) or on() vector(0)', "{{alertname}}"),
                ],
                empty="no alert fires",
                kind="stat",
                steps=[(1, RED)],
                names={"0": ("nothing", GREEN)},
            ),
            Panel(
                title="What share of calls gets an answer?",
                about="Calls not ended by a fault of ours, over five minutes. The promise is 99.9 %. Where it is less, "
                "the dashboard Serving says which call ends with which status.",
                unit="percentunit",
                queries=[Query("1 - freshet:errors:ratio_rate5m", "answered")],
                empty="nobody has called in the last five minutes",
                kind="stat",
                maximum=1.0,
                decimals=2,
                steps=[(0, RED), (0.99, YELLOW), (0.999, GREEN)],
            ),
            Panel(
                title="How often did each service restart in the last hour?",
                about="Starts after the first that Prometheus saw. One is an upgrade; more is a service that does not "
                "stay up, and its log says why.",
                unit="short",
                queries=[
                    Query(
                        'max by (job) (changes({__name__=~"freshet_.+_started_time_seconds"}[1h]))',
                        "{{job}}",
                    )
                ],
                empty=_AWAY,
                kind="stat",
                steps=[(1, YELLOW), (3, RED)],
            ),
        ],
        "How fresh?": [
            Panel(
                title="How soon does an event change what is recommended?",
                about="From an event's record in the log to its being counted in inference; the next answer knows it. "
                "The promise is one second for 99 % of the events. While a log is read anew it shows minutes or more. "
                "Where it grows otherwise, the lags in Pipeline tell which stage holds events up.",
                unit="s",
                queries=[
                    Query(f"freshet:freshness_seconds:quantile_rate5m{{quantile='{q}'}}", f"{name} within")
                    for q, name in (("0.5", "half"), ("0.99", "99 %"))
                ],
                empty="no event came in the last five minutes",
                steps=[(1.0, RED)],
            ),
            Panel(
                title="What share of events is applied within one second?",
                about="Over five minutes, in all processes of inference.",
                unit="percentunit",
                queries=[Query("1 - freshet:stale:ratio_rate5m", "within 1 s")],
                empty="no event came in the last five minutes",
                kind="stat",
                maximum=1.0,
                decimals=1,
                steps=[(0, RED), (0.95, YELLOW), (0.99, GREEN)],
            ),
            Panel(
                title="How old is the model that answers?",
                about="Since its version was published. It grows while no events come: a version is published every so "
                "many events, never by the clock.",
                unit="dtdurations",
                queries=[Query("freshet_inference_model_age_seconds", "{{instance}}")],
                empty="no version is served yet: counts and popularity answer",
                kind="stat",
            ),
        ],
        "How good?": [
            Panel(
                title="How often is the next product among the first ten?",
                about="HR@10 over the newest judged events: each event is judged before it is learned. learned is what "
                "is served, the others simple baselines on the same events; learned should be above them.",
                unit="percentunit",
                queries=[Query('freshet_evaluator_hit_ratio{k="10",window="recent"}', "{{policy}}")],
                empty="no event has been judged yet",
            ),
            Panel(
                title="What share of the judged events had a learned model?",
                about="Over five minutes; the others were answered by trending, as in the beginning, for new users "
                "always.",
                unit="percentunit",
                queries=[
                    Query(
                        "sum(rate(freshet_evaluator_learned_events_total[5m]))"
                        " / sum(rate(freshet_evaluator_judged_events_total[5m]))",
                        "learned",
                    )
                ],
                empty="no event has been judged in the last five minutes",
                maximum=1.0,
            ),
            Panel(
                title="What do texts say?",
                about="Share of positive texts among those scored in five minutes.",
                unit="percentunit",
                queries=[
                    Query(
                        'sum(rate(freshet_features_reviews_total{sentiment="positive"}[5m]))'
                        " / sum(rate(freshet_features_reviews_total[5m]))",
                        "positive",
                    )
                ],
                empty="no text came in the last five minutes",
                maximum=1.0,
            ),
        ],
        "How fast?": [
            Panel(
                title="How many events a second?",
                about="Learned from by the trainer.",
                unit="eps",
                queries=[Query("sum(rate(freshet_trainer_applied_events_total[$__rate_interval]))", "learned")],
                empty="the trainer can't be reached",
            ),
            Panel(
                title="How many calls a second?",
                about="Answered by inference, all methods and processes.",
                unit="reqps",
                queries=[Query("sum(rate(freshet_inference_requests_total[$__rate_interval]))", "calls")],
                empty="inference can't be reached",
            ),
            Panel(
                title="How long does a recommendation take?",
                about="Time to answer Recommend in the service, over five minutes; the network comes on top.",
                unit="s",
                queries=[
                    Query(
                        f"histogram_quantile({q}, sum by (le)"
                        ' (rate(freshet_inference_request_seconds_bucket{method="Recommend"}[5m])))',
                        f"{name} within",
                    )
                    for q, name in (("0.5", "half"), ("0.99", "99 %"))
                ],
                empty="no recommendation in the last five minutes",
            ),
        ],
    },
)
