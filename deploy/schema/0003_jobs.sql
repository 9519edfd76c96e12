-- The job engine's half in the database: claims, leases, fencing, the schedule of 13 attempts, republishing. A message is
-- only a hint; these rows are the queue.

create function rushes.add_event(p_type text, p_account uuid, p_recording uuid, p_trace text default null) returns void
	language plpgsql
	as $$
begin
	insert into rushes.event (day, type, account, recording, trace)
	values ((rushes.rushes_now() at time zone 'UTC')::date, p_type, p_account, p_recording, p_trace);
end $$;

create function rushes.add_audit(p_actor text, p_action text, p_account uuid, p_subject text, p_detail jsonb default '{}')
	returns void
	language plpgsql
	as $$
begin
	insert into rushes.audit (actor, action, account, subject, detail)
	values (p_actor, p_action, p_account, p_subject, coalesce(p_detail, '{}'));
end $$;

-- Locks recordings and refuses unless all may become p_to: asked in every transaction that writes recording.state.
create function rushes.lock_for_state(p_recordings uuid[], p_to text) returns void
	language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
declare
	r record;
begin
	perform from rushes.recording where id = any (p_recordings) order by id for update;
	for r in
		select u.id, x.state from unnest(p_recordings) u(id) left join rushes.recording x on x.id = u.id
		where not exists (select from rushes.transition t
				  where t.noun = 'recording' and t.from_state = x.state and t.to_state = p_to)
	loop
		if r.state is null then
			perform rushes.refuse('RU002', format('recording %s does not exist', r.id));
		end if;
		perform rushes.refuse('RU001', format('recording %s is %s and cannot become %s', r.id, r.state, p_to));
	end loop;
end $$;

create function rushes.set_recording_state(p_recording uuid, p_to text) returns void
	language plpgsql
	as $$
begin
	perform rushes.lock_for_state(array[p_recording], p_to);
	update rushes.recording set state = p_to where id = p_recording;
end $$;

-- Moves a job to its day's partition. The recording is locked by the caller.
create function rushes.finish_job(p_job rushes.job, p_state text, p_outcome text, p_class text, p_error text) returns void
	language plpgsql
	as $$
declare
	v_now timestamptz := rushes.rushes_now();
	v_day date := (rushes.rushes_now() at time zone 'UTC')::date;
begin
	delete from rushes.job where id = p_job.id;
	insert into rushes.job_done (day, id, kind, account, recording, file_kind, target, node, state, attempt, failures,
				     last_error, created_at, finished_at)
	values (v_day, p_job.id, p_job.kind, p_job.account, p_job.recording, p_job.file_kind, p_job.target, p_job.node,
		p_state, p_job.attempt, p_job.failures, coalesce(p_error, p_job.last_error), p_job.created_at, v_now);
	if p_job.kind = 'push' then
		update rushes.push set state = p_state, at = v_now
		where recording = p_job.recording and file_kind = p_job.file_kind and target = p_job.target;
	end if;
	if p_outcome is not null then
		insert into rushes.attempt (day, job, recording, number, worker, started_at, ended_at, outcome, class, error)
		values (v_day, p_job.id, p_job.recording, p_job.attempt, p_job.worker, p_job.started_at, v_now, p_outcome,
			p_class, p_error);
	end if;
end $$;

-- Locks the recording, then the job; refuses when the attempt is no longer the job's or the recording is going.
create function rushes.lock_attempt(p_job uuid, p_attempt integer) returns rushes.job
	language plpgsql
	as $$
declare
	v_recording uuid;
	v_state text;
	v_job rushes.job;
begin
	select recording into v_recording from rushes.job where id = p_job;
	if not found then
		perform rushes.refuse('RU004', format('job %s is finished or cancelled', p_job));
	end if;
	select state into v_state from rushes.recording where id = v_recording for update;
	select * into v_job from rushes.job where id = p_job for update;
	if not found then
		perform rushes.refuse('RU004', format('job %s is finished or cancelled', p_job));
	end if;
	if v_job.state <> 'running' or v_job.attempt <> p_attempt then
		perform rushes.refuse('RU001', format('job %s: attempt %s is not the running one', p_job, p_attempt));
	end if;
	if v_state in ('deleting', 'deleted') and v_job.kind <> 'delete' then
		perform rushes.refuse('RU004', format('recording %s is %s', v_recording, v_state));
	end if;
	return v_job;
end $$;

-- A spool is silent when it has not beaten for this long.
create function rushes.node_silence() returns interval
	language sql immutable
	as $$ select interval '30 s' $$;

create function rushes.node_is_silent(p_node uuid) returns boolean
	language plpgsql stable
	as $$
begin
	return (select beat_at < rushes.rushes_now() - rushes.node_silence() from rushes.node where id = p_node);
end $$;

-- Up to where closed segments cover a recording from its beginning without a gap; p_answering: those on silent nodes left
-- out. A segment begins where the covered bytes ended when it was opened, so beginnings never decrease.
create function rushes.covered_end(p_recording uuid, p_answering boolean default false) returns bigint
	language plpgsql stable
	as $$
declare
	v_end bigint := 0;
	g record;
begin
	for g in select s.start_offset, s.bytes from rushes.segment s
		 where s.recording = p_recording and s.state = 'closed' and s.bytes > 0
		   and not (p_answering and rushes.node_is_silent(s.node))
		 order by s.start_offset, s.number
	loop
		exit when g.start_offset > v_end;
		v_end := greatest(v_end, g.start_offset + g.bytes);
	end loop;
	return v_end;
end $$;

-- Whether the spools that the job cannot do without beat. A copy needs those whose segments no other spool has.
create function rushes.nodes_beat(p_job rushes.job) returns boolean
	language plpgsql stable
	as $$
begin
	return case when p_job.kind = 'copy' then
		coalesce((select rushes.covered_end(r.id, true) >= r.bytes from rushes.recording r where r.id = p_job.recording), true)
	else coalesce(not rushes.node_is_silent(p_job.node), true) end;
end $$;

-- Whether a follower may claim the job now: a copy job of a recording that is still open, with a segment to be pulled.
create function rushes.may_follow(p_job rushes.job) returns boolean
	language sql stable
	as $$
	select p_job.kind = 'copy' and p_job.next_attempt_at = 'infinity' and p_job.early_at <= rushes.rushes_now()
		and exists (select from rushes.copy c where c.recording = p_job.recording and c.segment is not null
			    and c.state = 'present' and not rushes.node_is_silent(c.node))
$$;

-- A push waits until the files before it, for the same target, have had their turn.
create function rushes.has_turn(p_job rushes.job) returns boolean
	language plpgsql stable
	as $$
begin
	return p_job.kind <> 'push' or not exists (
		select from rushes.job o
		where o.recording = p_job.recording and o.kind = 'push' and o.target = p_job.target and o.rank < p_job.rank
		  and (o.state = 'running' or o.failures = 0));
end $$;

-- Claims the hinted job if it is due, else the next due one of the account with the fewest running. With p_early also copy
-- jobs of recordings that are still open, when nothing is due; without p_due only those. The lease runs for p_lease. Returns no
-- row when there is nothing to do.
create function rushes.job_claim(p_hint uuid, p_kind text, p_region text, p_worker text, p_node uuid, p_lease interval,
				 p_due boolean default true, p_early boolean default false)
	returns setof rushes.job
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_now timestamptz := rushes.rushes_now();
	v_id uuid;
	v_job rushes.job;
begin
	if p_hint is not null then
		select j.id into v_id from rushes.job j
		where j.id = p_hint and j.kind = p_kind and j.region = p_region and j.state = 'queued'
		  and ((p_due and j.next_attempt_at <= v_now) or (p_early and rushes.may_follow(j)))
		  and (p_kind <> 'convert' or j.node = p_node)
		  and rushes.has_turn(j) and rushes.nodes_beat(j)
		for update skip locked;
	end if;
	if v_id is null then
		with recursive account_due as (
			(select j.account from rushes.job j
			 where j.kind = p_kind and j.state = 'queued' order by j.account limit 1)
			union all
			select (select j.account from rushes.job j
				where j.kind = p_kind and j.state = 'queued' and j.account > a.account
				order by j.account limit 1)
			from account_due a where a.account is not null
		), running as (
			select j.account, count(*) as n from rushes.job j
			where j.state = 'running' and j.kind = p_kind and j.next_attempt_at < 'infinity' group by j.account
		), candidate as (
			select d.id, d.next_attempt_at, d.rank, coalesce(r.n, 0) as n
			from account_due a
			left join running r on r.account = a.account
			cross join lateral (
				select j.id, j.next_attempt_at, j.rank from rushes.job j
				where j.kind = p_kind and j.state = 'queued' and j.account = a.account and j.region = p_region
				  and ((p_due and j.next_attempt_at <= v_now) or (p_early and rushes.may_follow(j)))
				  and (p_kind <> 'convert' or j.node = p_node)
				  and rushes.has_turn(j) and rushes.nodes_beat(j)
				order by j.next_attempt_at, j.rank limit 4) d
			where a.account is not null
		)
		select j.id into v_id from rushes.job j join candidate c on c.id = j.id
		where j.state = 'queued' and j.next_attempt_at = c.next_attempt_at
		order by c.next_attempt_at = 'infinity', c.n, c.next_attempt_at, c.rank, j.id
		limit 1
		for update of j skip locked;
	end if;
	if v_id is null then
		return;
	end if;
	update rushes.job j
	set state = 'running', attempt = j.attempt + 1, worker = p_worker, started_at = v_now, lease_until = v_now + p_lease
	where j.id = v_id and j.state = 'queued'
	returning j.* into v_job;
	if found then
		return next v_job;
	end if;
end $$;

-- Beats the leases of one worker in one statement; returns those that are still its own. What is missing was cancelled or
-- taken over: stop, and remove what was made. A beat need not survive a crash of the server.
create function rushes.job_beat(p_worker text, p_jobs uuid[], p_attempts integer[], p_lease interval)
	returns table (job uuid)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
begin
	set local synchronous_commit = off;
	-- in the order of ids, as every statement that locks several jobs
	return query
	with mine as (
		select j.id from rushes.job j join unnest(p_jobs, p_attempts) as h(id, attempt) on j.id = h.id and j.attempt = h.attempt
		where j.state = 'running' and j.worker = p_worker
		order by j.id for update of j
	)
	update rushes.job j set lease_until = rushes.rushes_now() + p_lease from mine where j.id = mine.id returning j.id;
end $$;

-- Queues a locked job again without cost; an early claim may be made again after p_wait.
create function rushes.job_spared_locked(p_job rushes.job, p_outcome text, p_error text, p_wait interval) returns void
	language plpgsql
	as $$
begin
	update rushes.job
	set state = 'queued', worker = null, lease_until = null, spared = spared + 1, early_at = rushes.rushes_now() + p_wait
	where id = p_job.id;
	insert into rushes.attempt (day, job, recording, number, worker, started_at, ended_at, outcome, error)
	values ((rushes.rushes_now() at time zone 'UTC')::date, p_job.id, p_job.recording, p_job.attempt, p_job.worker,
		p_job.started_at, rushes.rushes_now(), p_outcome, p_error);
end $$;

-- Gives a claimed job back without cost: the worker leaves, or found that it is not its turn.
create function rushes.job_hand_back(p_job uuid, p_attempt integer, p_reason text) returns void
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_job rushes.job := rushes.lock_attempt(p_job, p_attempt);
begin
	perform rushes.job_spared_locked(v_job, 'handed-back', p_reason, interval '0');
end $$;

-- What follows when nothing more is tried.
create function rushes.job_gave_up(p_job rushes.job, p_error text) returns void
	language plpgsql
	as $$
declare
	v_recording rushes.recording;
begin
	select * into v_recording from rushes.recording where id = p_job.recording;
	if p_job.kind = 'copy' then
		perform rushes.set_recording_state(p_job.recording, 'failed-copy');
		perform rushes.add_event('recording.failed-copy', p_job.account, p_job.recording, p_job.trace);
	elsif p_job.kind = 'convert' then
		perform rushes.set_recording_state(p_job.recording, 'failed-conversion');
		perform rushes.add_event('recording.failed-conversion', p_job.account, p_job.recording, p_job.trace);
	elsif p_job.kind = 'push' then
		-- what the tries may have left at the target is followed until it is gone
		perform rushes.copy_set_going(c.id, null)
		from rushes.copy c
		where c.recording = p_job.recording and c.target = p_job.target and c.kind = p_job.file_kind
		  and c.state = 'incoming';
		perform rushes.add_event('file.push-failed', p_job.account, p_job.recording, p_job.trace);
		perform rushes.recording_settle(p_job.recording);
	end if;
	perform rushes.retention_recompute(p_job.recording);
end $$;

-- One failed attempt of a locked job. Returns what became of it.
create function rushes.job_failed_locked(p_job rushes.job, p_outcome text, p_class text, p_error text, p_never boolean)
	returns table (state text, next_attempt_at timestamptz)
	language plpgsql
	as $$
#variable_conflict use_column
declare
	v_now timestamptz := rushes.rushes_now();
	v_wait interval := rushes.attempt_wait(p_job.failures + 1);
begin
	-- a deletion is never given up: after the schedule it goes on every day
	if p_job.kind = 'delete' then
		v_wait := coalesce(v_wait, interval '1 day');
	elsif p_never then
		v_wait := null;
	end if;
	p_job.failures := p_job.failures + 1;
	if v_wait is null then
		perform rushes.finish_job(p_job, 'failed', p_outcome, p_class, p_error);
		perform rushes.job_gave_up(p_job, p_error);
		return query select 'failed'::text, null::timestamptz;
		return;
	end if;
	update rushes.job j
	set state = 'queued', failures = p_job.failures, next_attempt_at = v_now + v_wait, last_error = p_error,
	    worker = null, lease_until = null
	where j.id = p_job.id;
	insert into rushes.attempt (day, job, recording, number, worker, started_at, ended_at, outcome, class, error)
	values ((v_now at time zone 'UTC')::date, p_job.id, p_job.recording, p_job.attempt, p_job.worker, p_job.started_at,
		v_now, p_outcome, p_class, p_error);
	return query select 'queued'::text, v_now + v_wait;
end $$;

-- How long a copy job that a follower had to leave is not followed again: 10 s at first, at most five minutes.
create function rushes.early_wait(p_spared integer) returns interval
	language sql immutable
	as $$ select interval '10 s' * least(2 ^ least(p_spared, 8), 30) $$;

-- The attempt failed. p_class: error class in words; p_never: complete and intact input that can never work.
create function rushes.job_failed(p_job uuid, p_attempt integer, p_class text, p_error text, p_never boolean)
	returns table (state text, next_attempt_at timestamptz)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	v_job rushes.job := rushes.lock_attempt(p_job, p_attempt);
begin
	-- a follower that leaves before there is anything to copy has not failed
	if v_job.next_attempt_at = 'infinity' then
		perform rushes.job_spared_locked(v_job, 'handed-back', left(p_error, 2000), rushes.early_wait(v_job.spared));
		return query select 'queued'::text, v_job.next_attempt_at;
		return;
	end if;
	return query select * from rushes.job_failed_locked(v_job, 'failed', left(p_class, 32), left(p_error, 2000), p_never);
end $$;

-- How often a job whose worker died is due again at once and at no cost.
create function rushes.free_abandonments() returns integer
	language sql immutable
	as $$ select 3 $$;

-- A worker that died or hangs says nothing about its job: it is due again at once, as if its message had been lost. A job that
-- goes on killing its workers comes to an end all the same: then each counts as a failed attempt. The job is locked.
create function rushes.job_abandoned_locked(p_job rushes.job, p_error text) returns void
	language plpgsql
	as $$
begin
	if p_job.next_attempt_at = 'infinity' then
		perform rushes.job_spared_locked(p_job, 'lease-expired', p_error, interval '0');
		return;
	end if;
	if p_job.attempt - p_job.failures - p_job.spared > rushes.free_abandonments() then
		perform rushes.job_failed_locked(p_job, 'lease-expired', 'retry', p_error, false);
		return;
	end if;
	update rushes.job
	set state = 'queued', worker = null, lease_until = null, next_attempt_at = rushes.rushes_now(), last_error = p_error
	where id = p_job.id;
	insert into rushes.attempt (day, job, recording, number, worker, started_at, ended_at, outcome, class, error)
	values ((rushes.rushes_now() at time zone 'UTC')::date, p_job.id, p_job.recording, p_job.attempt, p_job.worker,
		p_job.started_at, rushes.rushes_now(), 'lease-expired', 'retry', p_error);
end $$;

-- Leases that ran out. Returns how many.
create function rushes.job_expire_leases(p_kind text, p_limit integer) returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_candidate record;
	v_job rushes.job;
	v_count integer := 0;
begin
	for v_candidate in
		select j.id, j.recording from rushes.job j
		where j.state = 'running' and j.kind = p_kind and j.lease_until < rushes.rushes_now()
		order by j.recording limit p_limit
	loop
		perform from rushes.recording where id = v_candidate.recording for update skip locked;
		continue when not found;
		select * into v_job from rushes.job j
		where j.id = v_candidate.id and j.state = 'running' and j.lease_until < rushes.rushes_now()
		for update skip locked;
		continue when not found;
		perform rushes.job_abandoned_locked(v_job, 'the worker''s lease ran out: it died or hangs');
		v_count := v_count + 1;
	end loop;
	return v_count;
end $$;

-- The jobs of a process that held the same spool before: the spool's lock proves that it is dead, so nobody waits for its
-- leases. p_worker is the new process's <service>/<spool>#<process>. Returns how many.
create function rushes.job_release_dead(p_kind text, p_worker text) returns integer
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_candidate record;
	v_job rushes.job;
	v_count integer := 0;
begin
	for v_candidate in
		select j.id, j.recording from rushes.job j
		where j.state = 'running' and j.kind = p_kind and j.worker <> p_worker
		  and split_part(j.worker, '#', 1) = split_part(p_worker, '#', 1)
		order by j.recording
	loop
		perform from rushes.recording where id = v_candidate.recording for update;
		select * into v_job from rushes.job j
		where j.id = v_candidate.id and j.state = 'running' and j.worker <> p_worker for update;
		continue when not found;
		perform rushes.job_abandoned_locked(v_job, 'its worker ended without a word');
		v_count := v_count + 1;
	end loop;
	return v_count;
end $$;

-- Jobs whose spool is silent wait for it without using attempts; those whose spool beats again are queued.
create function rushes.job_watch_nodes(p_kind text) returns table (waiting bigint, woken bigint)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
begin
	with gone as (
		update rushes.job j set state = 'waiting-for-node'
		where j.id in (select q.id from rushes.job q
			       where q.kind = p_kind and q.state = 'queued' and q.next_attempt_at <= rushes.rushes_now()
				 -- hundreds of thousands may be due, and few of them on a silent spool
				 and (q.kind = 'copy' or q.node in (select n.id from rushes.node n where rushes.node_is_silent(n.id)))
				 and not rushes.nodes_beat(q)
			       for update skip locked limit 1000)
		returning 1)
	select count(*) into waiting from gone;
	with back as (
		update rushes.job j set state = 'queued'
		where j.id in (select q.id from rushes.job q
			       where q.kind = p_kind and q.state = 'waiting-for-node' and rushes.nodes_beat(q)
			       for update skip locked limit 1000)
		returning 1)
	select count(*) into woken from back;
	return next;
end $$;

-- Due jobs that are to be published (again): never published since they became due, or p_again ago. Raises the publication.
create function rushes.job_publish_due(p_kind text, p_again interval, p_limit integer)
	returns table (job uuid, region text, node uuid, attempt integer, publication integer, trace text)
	language plpgsql security definer
	set search_path = rushes, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
#variable_conflict use_column
declare
	-- in the order of the index job_publish, however many wait
	v_ids uuid[] := array(
		select q.id from rushes.job q
		where q.kind = p_kind and q.state = 'queued' and q.next_attempt_at <= rushes.rushes_now()
		  and (q.published_at is null or q.published_at < q.next_attempt_at
		       or q.published_at < rushes.rushes_now() - p_again)
		order by q.next_attempt_at, q.rank limit p_limit
		for update skip locked);
begin
	return query
	update rushes.job j
	set publication = j.publication + 1, published_at = rushes.rushes_now()
	where j.id = any (v_ids)
	returning j.id, j.region, j.node, j.attempt, j.publication, j.trace;
end $$;

-- A person sends a failed or waiting job on its way again: a fresh schedule of 13 attempts. Works on living jobs and on
-- finished ones that failed, whose recording is not going.
create function rushes.job_retry(p_job uuid, p_actor text) returns uuid
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
declare
	v_job rushes.job;
	v_done rushes.job_done;
	v_recording uuid;
	v_state text;
	v_new uuid;
begin
	select recording into v_recording from rushes.job where id = p_job;
	if found then
		select state into v_state from rushes.recording where id = v_recording for update;
		update rushes.job set failures = 0, next_attempt_at = rushes.rushes_now()
		where id = p_job and state <> 'running' and next_attempt_at < 'infinity' returning id into v_new;
		if v_new is null then
			perform rushes.refuse('RU001', format('job %s is running, or its recording is still open', p_job));
		end if;
	else
		select * into v_done from rushes.job_done where id = p_job and state = 'failed'
		order by finished_at desc limit 1;
		if not found then
			perform rushes.refuse('RU002', format('job %s does not exist, or did not fail', p_job));
		end if;
		select state into v_state from rushes.recording where id = v_done.recording for update;
		if v_state in ('deleting', 'deleted') then
			perform rushes.refuse('RU004', format('recording %s is %s', v_done.recording, v_state));
		end if;
		if exists (select from rushes.job j where j.recording = v_done.recording and j.kind = v_done.kind
			   and j.file_kind is not distinct from v_done.file_kind
			   and j.target is not distinct from v_done.target) then
			perform rushes.refuse('RU001', format('job %s is already being tried again', p_job));
		end if;
		if v_done.kind in ('copy', 'convert') then
			perform rushes.set_recording_state(v_done.recording, 'saved');
		elsif v_state = 'closed' then
			perform rushes.set_recording_state(v_done.recording, 'processed');
		end if;
		insert into rushes.job (kind, account, region, recording, file_kind, target, node, rank)
		select v_done.kind, v_done.account, r.region, v_done.recording, v_done.file_kind, v_done.target, v_done.node,
		       coalesce(array_position(array['main', 'raw', 'snapshot', 'filmstrip'], v_done.file_kind) - 1, 0)
		from rushes.recording r where r.id = v_done.recording
		returning id into v_new;
		if v_done.kind = 'push' then
			update rushes.push set state = 'unfinished', at = 'infinity'
			where recording = v_done.recording and file_kind = v_done.file_kind and target = v_done.target;
		end if;
		v_recording := v_done.recording;
	end if;
	perform rushes.add_audit(p_actor, 'job.retry', r.account, p_job::text, jsonb_build_object('job', v_new))
	from rushes.recording r where r.id = v_recording;
	perform rushes.retention_recompute(v_recording);
	return v_new;
end $$;

-- Named leases with terms: one holder at a time. Returns the term when the caller holds it now, else null.
create function rushes.lease_take(p_name text, p_holder text, p_for interval) returns bigint
	language sql security definer
	set search_path = rushes, pg_temp
	as $$
	insert into rushes.lease as l (name, holder, term, expires_at)
	values (p_name, p_holder, 1, rushes.rushes_now() + p_for)
	on conflict (name) do update
	set holder = excluded.holder, expires_at = excluded.expires_at,
	    term = l.term + case when l.holder = excluded.holder then 0 else 1 end
	where l.holder = excluded.holder or l.expires_at < rushes.rushes_now()
	returning term
$$;

create function rushes.lease_drop(p_name text, p_holder text) returns void
	language sql security definer
	set search_path = rushes, pg_temp
	as $$ delete from rushes.lease where name = p_name and holder = p_holder $$;

-- The outbox: the oldest unpublished events; mark them after the bus acknowledged. Those of a ledger entry come with its hash
-- and place, and the head of its batch.
create function rushes.event_unpublished(p_limit integer)
	returns table (id bigint, type text, account uuid, recording uuid, at timestamptz, trace text, entry bigint, hash bytea,
		       place integer, batch bigint, leaves integer, root bytea, previous bytea, sealed_at text, key_id text,
		       signature bytea)
	language plpgsql stable security definer
	set search_path = rushes, pg_temp set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off
	as $$
#variable_conflict use_column
begin
	-- planned once a session: there are as many partitions as days, and one look into the index of each
	return query
	select e.id, e.type, e.account, e.recording, e.at, e.trace, l.id, l.hash, l.position, b.id, b.leaves, b.root, b.previous,
	       to_char(b.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), b.key_id, b.signature
	from rushes.event e left join rushes.ledger l on l.id = e.entry left join rushes.ledger_batch b on b.id = l.batch
	where e.published_at is null order by e.id limit p_limit;
end $$;

create function rushes.event_published(p_ids bigint[]) returns void
	language sql security definer
	set search_path = rushes, pg_temp
	as $$ update rushes.event set published_at = rushes.rushes_now() where id = any (p_ids) and published_at is null $$;

-- Day partitions of finished jobs, attempts and events: made ahead, dropped when old. Returns what was made and dropped.
create function rushes.partitions_maintain(p_ahead_days integer, p_keep_days integer) returns table (made integer, dropped integer)
	language plpgsql security definer
	set search_path = rushes, pg_temp
	as $$
#variable_conflict use_column
declare
	v_today date := (rushes.rushes_now() at time zone 'UTC')::date;
	v_table text;
	v_day date;
	v_name text;
	v_occupied boolean;
	v_old record;
begin
	made := 0;
	dropped := 0;
	if not pg_try_advisory_xact_lock(hashtext('rushes.partitions')) then
		return next;
		return;
	end if;
	foreach v_table in array array['job_done', 'attempt', 'event'] loop
		for v_day in select v_today + n from generate_series(0, p_ahead_days) n loop
			v_name := format('%s_%s', v_table, to_char(v_day, 'YYYYMMDD'));
			continue when to_regclass('rushes.' || v_name) is not null;
			-- rows that came before their partition stay in the default one
			execute format('select exists (select from rushes.%I where day = $1)', v_table || '_default')
				into v_occupied using v_day;
			continue when v_occupied;
			execute format('create table rushes.%I partition of rushes.%I for values from (%L) to (%L)',
				v_name, v_table, v_day, v_day + 1);
			made := made + 1;
		end loop;
		continue when rushes.is_paused('*', 'clock');
		for v_old in
			select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
			where i.inhparent = ('rushes.' || v_table)::regclass and c.relname ~ '_[0-9]{8}$'
			  and to_date(right(c.relname, 8), 'YYYYMMDD') < v_today - p_keep_days
		loop
			execute format('drop table rushes.%I', v_old.relname);
			dropped := dropped + 1;
		end loop;
		execute format('delete from rushes.%I where day < $1', v_table || '_default') using v_today - p_keep_days;
	end loop;
	return next;
end $$;
