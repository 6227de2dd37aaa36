-- Version 1. `position` is the order of commits; everything that a person asks for is in the view
-- `event`.

-- The K/V: one value per key, the state after the newest entry. Entries do not repeat it, so that
-- the file grows with what happened and not with what was known.
CREATE TABLE aggregate (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    execution_id INTEGER NOT NULL,
    step TEXT,        -- of a loop
    loop_id INTEGER,  -- of a loop: the id of the step entry that opened it
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    next_event_id INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT;
CREATE INDEX aggregate_by_execution ON aggregate (execution_id);

-- The log. Appended in the order of commits, which keeps one page hot whatever the number of loops.
CREATE TABLE entry (
    position INTEGER PRIMARY KEY,
    aggregate_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    inputs TEXT NOT NULL,
    facts TEXT NOT NULL,
    UNIQUE (aggregate_id, seq)
) STRICT;

CREATE TABLE execution (
    position INTEGER PRIMARY KEY,
    execution_id INTEGER NOT NULL UNIQUE,
    path TEXT NOT NULL,
    status TEXT NOT NULL,
    started_ms INTEGER NOT NULL,
    ended_ms INTEGER
) STRICT;
CREATE INDEX execution_running ON execution (position) WHERE status = 'RUNNING';

CREATE TABLE playbook (
    path TEXT NOT NULL,
    version INTEGER NOT NULL,
    hash TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (path, version)
) STRICT;

-- Every fact as the events that people know it by, in causal order. A frame is one fact for many
-- iterations: `i` runs over them (the array of zeros gives `frame_issued` one item per index, as
-- SQLite has no series of its own), and `h` is the fact without its outcomes, so that these are
-- parsed once and not for every column of every event. CROSS JOIN fixes the order of the loops:
-- the planner does not know what a fact costs to parse.
CREATE VIEW event AS
WITH
expansion (variant, number, event_type, status, ends) AS (VALUES
    ('started', 0, 'playbook.initialized', 'STARTED', 0),
    ('started', 1, 'workflow.initialized', 'COMPLETED', 0),
    ('command_issued', 0, 'command.issued', 'PENDING', 0),
    ('command_issued:save', 0, 'save_started', 'RUNNING', 0),
    ('command_issued:save', 1, 'command.issued', 'PENDING', 0),
    ('answered', 0, 'command.claimed', 'RUNNING', 0),
    ('answered', 1, 'command.started', 'RUNNING', 0),
    ('answered', 2, 'step.enter', 'RUNNING', 0),
    ('answered', 3, 'call.done', 'COMPLETED', 1),
    ('answered:failed', 0, 'command.claimed', 'RUNNING', 0),
    ('answered:failed', 1, 'command.started', 'RUNNING', 0),
    ('answered:failed', 2, 'step.enter', 'RUNNING', 0),
    ('answered:failed', 3, 'call.error', 'FAILED', 1),
    ('answered:save', 0, 'command.claimed', 'RUNNING', 0),
    ('answered:save', 1, 'command.started', 'RUNNING', 0),
    ('answered:save', 2, 'save_completed', 'COMPLETED', 1),
    ('answered:save:failed', 0, 'command.claimed', 'RUNNING', 0),
    ('answered:save:failed', 1, 'command.started', 'RUNNING', 0),
    ('answered:save:failed', 2, 'save_failed', 'FAILED', 1),
    ('answered:save:error', 0, 'command.claimed', 'RUNNING', 0),
    ('answered:save:error', 1, 'command.started', 'RUNNING', 0),
    ('answered:save:error', 2, 'save_error', 'FAILED', 1),
    ('continued', 0, 'command.completed', 'COMPLETED', 0),
    ('continued:failed', 0, 'command.failed', 'FAILED', 0),
    ('retried', 0, 'command.failed', 'FAILED', 0),
    ('retried', 1, 'retry_scheduled', 'PENDING', 0),
    ('command_cancelled', 0, 'command.cancelled', 'CANCELLED', 0),
    ('saved', 0, 'save_started', 'RUNNING', 0),
    ('saved', 1, 'save_completed', 'COMPLETED', 1),
    ('loop_done', 0, 'loop.done', 'COMPLETED', 1),
    ('loop_failed', 0, 'iterator_failed', 'FAILED', 1),
    ('step_exited', 0, 'step.exit', 'COMPLETED', 1),
    ('step_exited:failed', 0, 'step.exit', 'FAILED', 1),
    ('step_exited:skipped', 0, 'step.exit', 'SKIPPED', 1),
    ('step_exited:command', 0, 'step.exit', 'COMPLETED', 1),
    ('step_exited:command', 1, 'command.completed', 'COMPLETED', 1),
    ('step_exited:command:failed', 0, 'step.exit', 'FAILED', 1),
    ('step_exited:command:failed', 1, 'command.failed', 'FAILED', 1),
    ('finished:COMPLETED', 0, 'workflow.completed', 'COMPLETED', 1),
    ('finished:COMPLETED', 1, 'playbook.completed', 'COMPLETED', 1),
    ('finished:FAILED', 0, 'workflow.failed', 'FAILED', 1),
    ('finished:FAILED', 1, 'playbook.failed', 'FAILED', 1),
    ('finished:CANCELLED', 0, 'execution.cancelled', 'CANCELLED', 1),
    ('loop_opened', 0, 'iterator_started', 'RUNNING', 0),
    ('frame_issued:first', 0, 'iteration_started', 'RUNNING', 0),
    ('frame_issued:first', 1, 'command.issued', 'PENDING', 0),
    ('frame_issued:first:save', 0, 'iteration_started', 'RUNNING', 0),
    ('frame_issued:first:save', 1, 'save_started', 'RUNNING', 0),
    ('frame_issued:first:save', 2, 'command.issued', 'PENDING', 0),
    ('frame_issued', 0, 'command.issued', 'PENDING', 0),
    ('frame_issued:save', 0, 'save_started', 'RUNNING', 0),
    ('frame_issued:save', 1, 'command.issued', 'PENDING', 0),
    ('frame_answered', 0, 'command.claimed', 'RUNNING', 0),
    ('frame_answered', 1, 'command.started', 'RUNNING', 0),
    ('frame_answered', 2, 'step.enter', 'RUNNING', 0),
    ('frame_answered', 3, 'call.done', 'COMPLETED', 1),
    ('frame_answered', 4, 'step.exit', 'COMPLETED', 1),
    ('frame_answered', 5, 'command.completed', 'COMPLETED', 1),
    ('frame_answered', 6, 'iteration_completed', 'COMPLETED', 1),
    ('frame_answered:retried', 0, 'command.claimed', 'RUNNING', 0),
    ('frame_answered:retried', 1, 'command.started', 'RUNNING', 0),
    ('frame_answered:retried', 2, 'step.enter', 'RUNNING', 0),
    ('frame_answered:retried', 3, 'call.error', 'FAILED', 1),
    ('frame_answered:retried', 4, 'command.failed', 'FAILED', 1),
    ('frame_answered:retried', 5, 'retry_scheduled', 'PENDING', 0),
    ('frame_answered:failed', 0, 'command.claimed', 'RUNNING', 0),
    ('frame_answered:failed', 1, 'command.started', 'RUNNING', 0),
    ('frame_answered:failed', 2, 'step.enter', 'RUNNING', 0),
    ('frame_answered:failed', 3, 'call.error', 'FAILED', 1),
    ('frame_answered:failed', 4, 'step.exit', 'FAILED', 1),
    ('frame_answered:failed', 5, 'command.failed', 'FAILED', 1),
    ('frame_answered:failed', 6, 'iteration_failed', 'FAILED', 1),
    ('iteration_settled', 0, 'step.exit', 'COMPLETED', 1),
    ('iteration_settled', 1, 'iteration_completed', 'COMPLETED', 1),
    ('iteration_settled:failed', 0, 'step.exit', 'FAILED', 1),
    ('iteration_settled:failed', 1, 'iteration_failed', 'FAILED', 1),
    ('iteration_settled:command', 0, 'step.exit', 'COMPLETED', 1),
    ('iteration_settled:command', 1, 'command.completed', 'COMPLETED', 1),
    ('iteration_settled:command', 2, 'iteration_completed', 'COMPLETED', 1),
    ('iteration_settled:command:failed', 0, 'step.exit', 'FAILED', 1),
    ('iteration_settled:command:failed', 1, 'command.failed', 'FAILED', 1),
    ('iteration_settled:command:failed', 2, 'iteration_failed', 'FAILED', 1),
    ('loop_closed', 0, 'iterator_completed', 'COMPLETED', 1),
    ('loop_closed:failed', 0, 'iterator_completed', 'FAILED', 1)
),
item AS (
    SELECT
        a.execution_id, a.key, a.loop_id, e.position, e.at_ms, e.event_id,
        f.key AS fact_number, h.value AS fact, i.key AS item_number,
        h.value ->> 'fact' AS kind,
        coalesce(
            h.value ->> '$.step', h.value ->> '$.command.step', h.value ->> '$.open.step'
        ) AS step,
        -- What ended: the outcome of a call or of an iteration, or else the fact itself.
        CASE h.value ->> 'fact'
            WHEN 'answered' THEN h.value -> '$.outcome'
            WHEN 'iteration_settled' THEN h.value -> '$.outcome'
            WHEN 'frame_answered' THEN i.value
            ELSE h.value
        END AS ended,
        -- What a step saves itself is `"sink"`, what a rule saves `{"save": ...}`.
        coalesce(h.value ->> '$.site', h.value ->> '$.command.site', '') = 'sink'
            OR coalesce(
                h.value -> '$.site.save', h.value -> '$.command.site.save'
            ) IS NOT NULL AS is_save,
        -- An exit ends a command if the last call of its run or its iteration was answered in the
        -- same entry, and was neither tried again nor followed by another.
        CASE WHEN h.value ->> 'fact' IN ('step_exited', 'iteration_settled') THEN coalesce((
            SELECT p.value ->> 'fact' = 'answered' FROM json_each(e.facts) AS p
            WHERE p.key < f.key AND p.value ->> 'fact' IN ('answered', 'continued', 'retried')
                AND CASE h.value ->> 'fact'
                    WHEN 'step_exited' THEN p.value ->> 'run' = h.value ->> 'run'
                    ELSE p.value ->> 'index' = h.value ->> 'index'
                END
            ORDER BY p.key DESC LIMIT 1
        ), 0) END AS has_command,
        CASE h.value ->> 'fact' WHEN 'frame_answered' THEN EXISTS (
            SELECT 1 FROM json_each(h.value, '$.retried') AS r
            WHERE r.value = (h.value ->> 'first') + i.key
        ) END AS is_retried
    FROM aggregate AS a
    CROSS JOIN entry AS e ON e.aggregate_id = a.id
    CROSS JOIN json_each(e.facts) AS f
    CROSS JOIN json_each(json_array(json_remove(f.value, '$.outcomes'))) AS h
    CROSS JOIN json_each(CASE f.value ->> 'fact'
        WHEN 'frame_answered' THEN f.value -> '$.outcomes'
        WHEN 'frame_issued' THEN
            '[' || substr(replace(hex(zeroblob(f.value ->> 'len')), '00', ',0'), 2) || ']'
        ELSE '[0]'
    END) AS i
)
SELECT
    item.execution_id,
    item.event_id - 1 + row_number() OVER (
        PARTITION BY item.execution_id, item.position
        ORDER BY item.fact_number, item.item_number, x.number
    ) AS event_id,
    strftime('%Y-%m-%dT%H:%M:%fZ', item.at_ms / 1000.0, 'unixepoch') AS created_at,
    x.event_type,
    CASE
        WHEN x.event_type GLOB 'workflow.*' THEN 'workflow'
        WHEN x.event_type GLOB 'playbook.*' OR x.event_type = 'execution.cancelled' THEN
            (SELECT path FROM execution WHERE execution.execution_id = item.execution_id)
        ELSE item.step
    END AS node_name,
    CASE x.event_type WHEN 'command.issued' THEN
        coalesce(item.fact ->> '$.tool_kind', item.fact ->> '$.command.tool_kind')
    END AS node_type,
    x.status,
    CASE WHEN item.loop_id IS NOT NULL OR item.kind IN ('loop_done', 'loop_failed') THEN
        item.step
    END AS loop_name,
    CASE WHEN item.kind IN ('loop_done', 'loop_failed') THEN CAST(item.fact ->> 'run' AS INTEGER)
        ELSE item.loop_id
    END AS loop_id,
    CASE WHEN item.kind IN ('frame_issued', 'frame_answered') THEN
        (item.fact ->> 'first') + item.item_number
        ELSE item.fact ->> '$.index'
    END AS current_index,
    coalesce(item.fact ->> '$.attempt', item.fact ->> '$.command.attempt') AS attempt,
    item.fact ->> '$.worker' AS worker_id,
    CASE WHEN x.ends THEN item.ended ->> '$.duration_ms' END AS duration,
    CASE
        WHEN x.event_type = 'iterator_started' THEN json_object(
            'total_count', item.fact ->> '$.open.collection_size',
            'collection_size', item.fact ->> '$.open.collection_size',
            'mode', item.fact ->> '$.open.mode',
            'iterator_name', item.fact ->> '$.open.iterator',
            'max_in_flight', item.fact ->> '$.open.max_in_flight',
            'collection', json_object(
                'uri', item.fact ->> '$.open.collection.uri',
                'bytes', item.fact ->> '$.open.collection.bytes'
            ),
            'nested_task', json_object('tool', item.fact ->> '$.open.tool_kind'),
            'note', item.fact ->> '$.open.note'
        )
        WHEN x.ends THEN coalesce(
            item.ended -> '$.result.inline', item.ended -> '$.result',
            item.ended -> '$.data.inline', item.ended -> '$.data', item.ended -> '$.summary'
        )
    END AS result,
    CASE WHEN x.ends THEN
        coalesce(item.ended ->> '$.error.message', item.ended ->> '$.failure.error.message')
    END AS error,
    item.key AS aggregate
FROM item
CROSS JOIN expansion AS x ON x.variant = CASE item.kind
    WHEN 'command_issued' THEN 'command_issued' || iif(item.is_save, ':save', '')
    WHEN 'answered' THEN 'answered' || iif(item.is_save, ':save', '') || CASE
        WHEN item.ended ->> '$.error' IS NULL THEN ''
        -- The tool said no, or nobody knows what came of it.
        WHEN item.is_save AND (
            item.ended ->> '$.error.retryable'
            OR item.ended ->> '$.error.type' IN ('WorkerError', 'LostError', 'TimeoutError')
        ) THEN ':error'
        ELSE ':failed'
    END
    WHEN 'continued' THEN 'continued' || iif(item.fact ->> 'failed', ':failed', '')
    WHEN 'step_exited' THEN 'step_exited' || CASE item.fact ->> 'status'
        WHEN 'SKIPPED' THEN ':skipped'
        ELSE iif(item.has_command, ':command', '')
            || iif(item.fact ->> 'status' = 'COMPLETED', '', ':failed')
    END
    WHEN 'iteration_settled' THEN 'iteration_settled' || iif(item.has_command, ':command', '')
        || iif(item.ended ->> '$.error' IS NULL, '', ':failed')
    WHEN 'finished' THEN 'finished:' || (item.fact ->> 'status')
    WHEN 'frame_issued' THEN 'frame_issued'
        || iif(item.fact ->> 'attempt' = 1 AND coalesce(item.fact ->> 'call', 1) = 1, ':first', '')
        || iif(item.is_save, ':save', '')
    WHEN 'frame_answered' THEN 'frame_answered' || CASE
        WHEN item.ended ->> '$.error' IS NULL THEN ''
        WHEN item.is_retried THEN ':retried'
        ELSE ':failed'
    END
    WHEN 'loop_closed' THEN 'loop_closed' || iif(
        item.fact ->> '$.summary.total' > 0
        AND item.fact ->> '$.summary.failed' = item.fact ->> '$.summary.total', ':failed', '')
    ELSE item.kind
END
ORDER BY item.at_ms, item.position, item.fact_number, item.item_number, x.number;
