// One statement per table, for takes $1 to $2 of bench.take: what hangs on a recording. The first has to come first.
const TAKES = "(select * from bench.take where n between $1 and $2)";
const due = `
	left join lateral (
		select w.due_at, w.rule from (
			select rushes.midnight_after_28_days(a.paid_until, 'Europe/Bucharest') as due_at, 'subscription-expired' as rule
			union all
			select rushes.lifecycle_due(t.at, l.age_days, a.zone), 'lifecycle' from rushes.lifecycle_rule l
			where l.account = a.id and l.environment = t.environment) w
		where w.due_at is not null and t.state <> 'deleted' and t.n % 500 <> 4 order by 1 limit 1) d on true`;

const OURS = "bench.fixed(4, 0)";
/** The files of take t that our storage has, and the client's where there is one. */
const delivered = `
	cross join lateral (
		select k.kind, k.n, o.target, o.owner from (values ('main', 1), ('snapshot', 2), ('raw', 3)) k(kind, n)
		cross join lateral (
			select ${OURS} as target, 'ours' as owner where bench.roll(t.n, 3) < 0.85
			union all
			select bench.fixed(5, t.account), 'client' where t.account % 3 = 0 and t.account < 2000 and k.kind = 'main') o
		where k.kind <> 'raw' or t.has_raw) f
	where t.state = 'closed'`;

const recording = `
	insert into rushes.recording (id, account, region, environment, kind, state, stream_epoch, mime, stop, held, bytes, sha256,
		opened_at, last_byte_at, sent_at, saved_at, copied_at, processed_at, closed_at, deleting_at, delete_rule, deleted_at, due_at, due_rule)
	select t.id, a.id, 'eu1', t.environment, 'received', t.state, 1, 'video/webm;codecs=vp9,opus', 'user',
	       t.n % 500 = 4 and t.state = 'closed', 20000000, t.sha256, t.at - interval '2 min', t.at, t.at, t.at,
	       case when t.state in ('closed', 'failed-conversion') then t.at end, case when t.state = 'closed' then t.at + interval '1 min' end,
	       case when t.state = 'closed' then t.at + interval '2 min' end, case when t.state = 'deleted' then t.at + interval '9 days' end,
	       case when t.state = 'deleted' then 'lifecycle' end, case when t.state = 'deleted' then t.at + interval '9 days' end, d.due_at, d.rule
	from ${TAKES} t join rushes.account a on a.id = t.owner ${due}`;

const segment = `
	insert into rushes.segment (recording, number, account, node, epoch, state, start_offset, bytes, sha256, crc32, opened_at, closed_at)
	select t.id, 0, t.owner, bench.fixed(3, t.n % 8), 1, 'closed', 0, 20000000, t.sha256,
	       5, t.at, t.at
	from ${TAKES} t where t.state <> 'deleted'`;

const personal = `
	insert into rushes.recording_personal (recording, account, ip, user_agent)
	select t.id, t.owner, '192.0.2.1', 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140'
	from ${TAKES} t where t.state <> 'deleted'`;

const key = `
	insert into rushes.recording_key (recording, account, account_key, wrapped)
	select t.id, t.owner, t.owner, decode(repeat(md5(t.n::text), 4), 'hex')
	from ${TAKES} t where t.state in ('saved', 'failed-conversion')`;

const file = `
	insert into rushes.file (id, recording, account, kind, bytes, sha256, facts, made_at)
	select bench.part(t.digits, k.n), t.id, t.owner, k.kind, 10000000, t.sha256,
	       '{"video": "h264", "width": 1920, "height": 1080, "duration_s": 61.5}', t.at
	from ${TAKES} t
	cross join (values ('main', 1), ('snapshot', 2), ('raw', 3)) k(kind, n)
	where (t.state = 'closed' and (k.kind <> 'raw' or t.has_raw)) or (t.state = 'failed-conversion' and k.kind = 'raw')`;

const copy = `
	insert into rushes.copy (id, recording, account, region, kind, target, state, location, encrypted_at_rest, evidence, created_at, present_at)
	select bench.part(t.digits, case when f.owner = 'ours' then 16 else 32 end + f.n), t.id, t.owner, 'eu1', f.kind, f.target,
	       case when f.owner = 'ours' then 'present' else 'released' end, 'a' || t.account || '/' || t.id || '/' || f.kind, true,
	       '{"etag": "9e107d9d372bb6826bd81d3542a419d6"}', t.at, t.at
	from ${TAKES} t ${delivered}`;

/** On spools: what is under way on ingest, what could not be converted on a transcoder. */
const spool = `
	insert into rushes.copy (id, recording, account, region, segment, kind, node, state, location, created_at, present_at, due_at, rule)
	select bench.part(t.digits, 64), t.id, t.owner, 'eu1', case when t.state = 'saved' then 0 end,
	       case when t.state <> 'saved' then 'raw' end, bench.fixed(3, t.n % 8 + case when t.state = 'saved' then 0 else 8 end), 'present',
	       t.id || '.sealed', t.at, t.at,
	       case when t.state <> 'saved' and t.n % 500 <> 4 then rushes.midnight_after_28_days(t.at, 'Europe/Bucharest') end,
	       case when t.state <> 'saved' and t.n % 500 <> 4 then 'failed-conversion' end
	from ${TAKES} t where t.state in ('saved', 'failed-conversion')`;

const push = `
	insert into rushes.push (recording, file_kind, target, state, at)
	select t.id, f.kind, f.target, 'done', t.at + interval '2 min' from ${TAKES} t ${delivered}`;

const job = `
	insert into rushes.job (kind, account, region, recording, node, next_attempt_at)
	select 'copy', t.owner, 'eu1', t.id, bench.fixed(3, t.n % 8), now() + interval '1 hour'
	from ${TAKES} t where t.state = 'saved'`;

const ledger = `
	insert into rushes.ledger (id, at, kind, account, recording, copy, rule, place, evidence, hash, batch, position)
	overriding system value
	select t.n * 4 + k.n, t.at + interval '9 days', k.kind, t.owner, t.id,
	       case when k.n in (1, 2) then bench.part(t.digits, 17) end, 'lifecycle', case when k.n in (1, 2) then 'target/' || ${OURS} end, '{}',
	       sha256(int8send(t.n * 4 + k.n)), t.n / 10000 + 1, t.n % 10000 * 4 + k.n
	from ${TAKES} t cross join (values (0, 'decided'), (1, 'decided'), (2, 'gone'), (3, 'complete')) k(n, kind)
	where t.state = 'deleted'`;

/** Finished jobs and published events of the last 39 days, in their partitions. */
const done = `
	insert into rushes.job_done (day, id, kind, account, recording, state, attempt, failures, created_at, finished_at)
	select (t.at at time zone 'UTC')::date, bench.part(t.digits, 80 + k.n), k.kind, t.owner, t.id, 'done', 1, 0, t.at, t.at
	from ${TAKES} t cross join (values (0, 'copy'), (1, 'convert'), (2, 'push'), (3, 'push')) k(n, kind)
	where t.state = 'closed' and t.at > now() - interval '39 days'`;
const event = `
	insert into rushes.event (day, type, account, recording, at, published_at)
	select (t.at at time zone 'UTC')::date, 'recording.' || k.type, t.owner, t.id, t.at, t.at
	from ${TAKES} t cross join (values ('opened'), ('saved'), ('processed'), ('closed')) k(type)
	where t.state = 'closed' and t.at > now() - interval '39 days'`;

/** Tables, each with what fills it, in two lanes that load beside each other; recording comes before both. */
export const FIRST = [["recording", recording]];
export const LANES = [
	[["segment", segment], ["copy", copy, spool], ["job", job], ["ledger", ledger]],
	[["file", file], ["push", push], ["recording_personal", personal], ["recording_key", key], ["job_done", done], ["event", event]],
];
