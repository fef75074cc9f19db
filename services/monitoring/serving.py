"""Rate, errors and duration of the calls, by method and process; what is shed, swapped and fallen back to."""

from __future__ import annotations

from services.monitoring.panels import RED, STARTS, VERSIONS, YELLOW, Dashboard, Panel, Query, TemplateVariable

_AWAY = "inference can't be reached"
_NO_CALL = "nobody has called"
_NO_HTTP = "nobody has called over HTTP"
_CHOSEN = 'method=~"$method",instance=~"$process"'

SERVING = Dashboard(
    uid="freshet-serving",
    title="Serving",
    about="Rate, errors and duration of the calls; what is shed, swapped and fallen back to.",
    marks=(STARTS, VERSIONS),
    variables=(
        TemplateVariable("method", "Method", "label_values(freshet_inference_requests_total, method)"),
        TemplateVariable("process", "Process", "label_values(freshet_inference_requests_total, instance)"),
    ),
    sections={
        "How many calls come?": [
            Panel(
                title="How many calls a second, by method?",
                about="Calls answered, whatever the answer.",
                unit="reqps",
                queries=[
                    Query(
                        f"sum by (method) (rate(freshet_inference_requests_total{{{_CHOSEN}}}[$__rate_interval]))",
                        "{{method}}",
                    )
                ],
                empty=_AWAY,
                stacked=True,
            ),
            Panel(
                title="Do all processes share the work?",
                about="Calls a second by process. The kernel spreads connections, not calls: a client with one "
                "connection is answered by one process.",
                unit="reqps",
                queries=[
                    Query(
                        f"sum by (instance) (rate(freshet_inference_requests_total{{{_CHOSEN}}}[$__rate_interval]))",
                        "{{instance}}",
                    )
                ],
                empty=_AWAY,
                stacked=True,
            ),
            Panel(
                title="How many calls are shed?",
                about="Calls a second refused with RESOURCE_EXHAUSTED: they would have waited too long in the queue "
                "(FRESHET_INFERENCE_LONGEST_QUEUE_MS), or too many were being answered "
                "(FRESHET_INFERENCE_MAXIMUM_CONCURRENT_RPCS). Start more processes (FRESHET_INFERENCE_PROCESSES).",
                unit="reqps",
                queries=[
                    Query(
                        "sum by (instance) (rate(freshet_inference_requests_total"
                        f'{{{_CHOSEN},code="RESOURCE_EXHAUSTED"}}[$__rate_interval]))',
                        "{{instance}}",
                    )
                ],
                empty=_AWAY,
            ),
        ],
        "What fails?": [
            Panel(
                title="With which status do calls end?",
                about="Other than OK, a second. INVALID_ARGUMENT, NOT_FOUND and CANCELLED are the caller's; the others "
                "are ours.",
                unit="reqps",
                queries=[
                    Query(
                        "sum by (code) (rate(freshet_inference_requests_total"
                        f'{{{_CHOSEN},code!="OK"}}[$__rate_interval]))',
                        "{{code}}",
                    )
                ],
                empty=_AWAY,
                stacked=True,
            ),
            Panel(
                title="What share of calls fails by our fault, by method?",
                about="UNAVAILABLE, INTERNAL, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED, over five minutes.",
                unit="percentunit",
                queries=[
                    Query(
                        "sum by (method) (rate(freshet_inference_requests_total"
                        f'{{{_CHOSEN},code=~"UNAVAILABLE|INTERNAL|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED"}}[5m]))'
                        f" / sum by (method) (rate(freshet_inference_requests_total{{{_CHOSEN}}}[5m]))",
                        "{{method}}",
                    )
                ],
                empty=_NO_CALL,
                steps=[(0.001, RED)],
            ),
            Panel(
                title="How fast is the error budget spent?",
                about="Share of failed calls by the 0.1 % that the promise leaves: at 1 a month's budget lasts a "
                "month, at 14.4 two days.",
                unit="short",
                queries=[
                    Query("freshet:errors:ratio_rate5m / 0.001", "5 minutes"),
                    Query("freshet:errors:ratio_rate1h / 0.001", "1 hour"),
                    Query("freshet:errors:ratio_rate6h / 0.001", "6 hours"),
                ],
                empty=_NO_CALL,
                steps=[(6.0, YELLOW), (14.4, RED)],
            ),
        ],
        "How long does it take?": [
            Panel(
                title="How long does each method take?",
                about="99th percentile over five minutes. Writes wait for the broker's acknowledgement.",
                unit="s",
                queries=[
                    Query(
                        "histogram_quantile(0.99, sum by (le, method)"
                        f" (rate(freshet_inference_request_seconds_bucket{{{_CHOSEN}}}[5m])))",
                        "{{method}}",
                    )
                ],
                empty=_NO_CALL,
                logarithmic=True,
                minimum=None,
            ),
            Panel(
                title="How long does each process take?",
                about="99th percentile over five minutes. One that stands out is short of CPU.",
                unit="s",
                queries=[
                    Query(
                        "histogram_quantile(0.99, sum by (le, instance)"
                        f" (rate(freshet_inference_request_seconds_bucket{{{_CHOSEN}}}[5m])))",
                        "{{instance}}",
                    )
                ],
                empty=_NO_CALL,
                logarithmic=True,
                minimum=None,
            ),
            Panel(
                title="How are the durations distributed?",
                about="Calls a second in each range; each row is named by its upper end in seconds.",
                unit="reqps",
                queries=[
                    Query(
                        f"sum by (le) (rate(freshet_inference_request_seconds_bucket{{{_CHOSEN}}}[$__rate_interval]))",
                        "{{le}}",
                    )
                ],
                empty=_NO_CALL,
                kind="heatmap",
                minimum=None,
            ),
        ],
        "What does HTTP add?": [
            Panel(
                title="How many HTTP requests a second, by path?",
                about="Requests answered by the gateway, whatever the answer; none: a path that does not exist.",
                unit="reqps",
                queries=[
                    Query("sum by (route) (rate(freshet_gateway_requests_total[$__rate_interval]))", "{{route}}"),
                ],
                empty=_NO_HTTP,
                stacked=True,
            ),
            Panel(
                title="With which status do HTTP requests end?",
                about="A second. 4xx are the caller's; 503: the recommender can't be reached, 504: it took too long.",
                unit="reqps",
                queries=[
                    Query("sum by (status) (rate(freshet_gateway_requests_total[$__rate_interval]))", "{{status}}"),
                ],
                empty=_NO_HTTP,
                stacked=True,
            ),
            Panel(
                title="How long do HTTP requests take?",
                about="99th percentile over five minutes, the call of the recommender included; a stream counts to its "
                "end. Where the recommender is quick and this is not, the gateway is short of CPU.",
                unit="s",
                queries=[
                    Query(
                        "histogram_quantile(0.99, sum by (le, route) "
                        "(rate(freshet_gateway_request_seconds_bucket[5m])))",
                        "{{route}}",
                    )
                ],
                empty=_NO_HTTP,
                logarithmic=True,
                minimum=None,
            ),
        ],
        "What answers?": [
            Panel(
                title="Where do recommendations come from?",
                about="Answers a second: learned by the model; counted from the events so far, for a user with a "
                "history while there is no_model; or trending with the reason: no_model yet, unknown_user, "
                "empty_catalogue, nothing_left after the mask.",
                unit="reqps",
                queries=[
                    Query(
                        "sum by (strategy, fallback) (rate(freshet_inference_recommendations_total"
                        '{instance=~"$process"}[$__rate_interval]))',
                        "{{strategy}} {{fallback}}",
                    )
                ],
                empty=_AWAY,
                stacked=True,
            ),
            Panel(
                title="How stale are the counts that answers come from?",
                about="From an event's record in the log to its being counted here, over five minutes, by process. "
                "While a process reads the log anew it shows minutes or hours, which is right: the records are that "
                "old. Where it stays high, the lags in Pipeline tell which stage holds events up; where one process "
                "stands out, it is short of CPU.",
                unit="s",
                queries=[
                    Query(
                        f"histogram_quantile({q}, sum by (le, instance)"
                        ' (rate(freshet_inference_freshness_seconds_bucket{instance=~"$process"}[5m])))',
                        f"{name} within {{{{instance}}}}",
                    )
                    for q, name in (("0.5", "half"), ("0.99", "99 %"))
                ],
                empty="no event came in the last five minutes",
                steps=[(1.0, RED)],
                logarithmic=True,
                minimum=None,
            ),
            Panel(
                title="How many events has the serving version learned from?",
                about="By process; all swap within seconds of one another, unless one can't read the folder of the "
                "versions.",
                unit="short",
                queries=[
                    Query('freshet_inference_model_applied_events{instance=~"$process"}', "{{instance}}"),
                ],
                empty=_AWAY,
            ),
            Panel(
                title="How many versions were swapped in, and how many refused?",
                about="In the last hour, by process. A refused version is damaged or missing: inference's log says "
                "which and how, and the one before stays.",
                unit="short",
                queries=[
                    Query(
                        'sum by (instance) (increase(freshet_inference_model_swaps_total{instance=~"$process"}[1h]))',
                        "swaps {{instance}}",
                    ),
                    Query(
                        "sum by (instance)"
                        ' (increase(freshet_inference_model_rejected_total{instance=~"$process"}[1h]))',
                        "not taken {{instance}}",
                    ),
                ],
                empty=_AWAY,
                kind="stat",
                decimals=0,
            ),
            Panel(
                title="How much does each process know?",
                about="Users with an event and products, the same in every process that has read the log.",
                unit="short",
                queries=[
                    Query('freshet_inference_users{instance=~"$process"}', "users {{instance}}"),
                    Query('freshet_inference_products{instance=~"$process"}', "products {{instance}}"),
                ],
                empty=_AWAY,
            ),
            Panel(
                title="How much memory does each process hold?",
                about="Resident. It grows with users and products; docs/performance.md says by how much.",
                unit="bytes",
                queries=[Query('process_resident_memory_bytes{job="inference",instance=~"$process"}', "{{instance}}")],
                empty=_AWAY,
            ),
            Panel(
                title="How much of it do the counts take?",
                about="Popularity, pairs of products and each product's newest users.",
                unit="bytes",
                queries=[Query('freshet_inference_tally_bytes{instance=~"$process"}', "{{instance}}")],
                empty=_AWAY,
            ),
            Panel(
                title="How many pairs of products were not counted, for want of memory?",
                about="0 while the budget suffices. Products that came when it was used up have no neighbours: raise "
                "FRESHET_SHOP_TALLY_MEGABYTES for all services; docs/operations.md says how.",
                unit="short",
                queries=[
                    Query('freshet_inference_tally_refused_pairs{instance=~"$process"}', "inference {{instance}}"),
                    Query("freshet_trainer_tally_refused_pairs", "trainer"),
                    Query("freshet_evaluator_tally_refused_pairs", "evaluator"),
                ],
                empty=_AWAY,
                kind="stat",
                decimals=0,
            ),
            Panel(
                title="How much CPU does each process use?",
                about="Cores. A process is full at about one.",
                unit="none",
                queries=[
                    Query(
                        'rate(process_cpu_seconds_total{job="inference",instance=~"$process"}[$__rate_interval])',
                        "{{instance}}",
                    )
                ],
                empty=_AWAY,
            ),
        ],
    },
)
