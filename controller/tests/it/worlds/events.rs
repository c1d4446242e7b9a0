//! What happens to a world between two passes.

use super::*;

impl Run {
    /// Plays the script, then lets everything come to rest; judges the end.
    pub(super) fn play(&mut self, seen: &mut Seen) {
        let start = self.now();
        let script = self.case.script.clone();
        let last = script.last().map_or(Duration::ZERO, |(at, _)| *at);
        let calm = start + last + Duration::from_secs(200);
        let mut script = script.into_iter().peekable();
        let mut wake = Some(start);
        let mut resync = start;
        let mut steps = 0_u32;
        let mut quiet_since = None;
        loop {
            steps += 1;
            assert!(steps < 60_000, "no end: {:#?}", self.before);
            let now = self.now();
            // What was made until now was made for the wish until now.
            self.judge_jobs();
            while let Some((_, event)) = script.next_if(|(at, _)| start + *at <= now) {
                self.happen(&event, seen);
                wake = Some(now);
            }
            let keys = self.sim.with(World::advance);
            self.follow_hooks(&[], seen);
            self.note_whole();
            let heard = keys.contains(&Key::Service(self.name.clone())) && self.case.rng.f64() >= self.case.event_loss;
            // An event that comes twice, or late, or out of order, is one more look.
            let again = self.case.event_loss > 0.0 && now < calm && self.case.rng.u8(0..4) == 0;
            let due = heard || again || wake.is_some_and(|at| at <= now) || resync <= now;
            if due {
                if resync <= now {
                    resync = now + Duration::from_secs(30);
                }
                let calls = self.applied;
                match self.pass(now < calm, seen) {
                    Ended::LookAgain(at) => wake = at.map(|at| at.max(now + Duration::from_millis(1))),
                    Ended::Crashed => wake = Some(now + Duration::from_millis(self.case.rng.u64(1..20_000))),
                }
                if self.applied != calls {
                    quiet_since = None;
                }
            }
            let quiet = now >= calm && script.peek().is_none() && wake.is_none();
            let since = *quiet_since.get_or_insert(now);
            if quiet && now.duration_since(since) > jiff::SignedDuration::from_mins(10) {
                break;
            }
            if now >= calm && now.duration_since(calm) > jiff::SignedDuration::from_hours(1) {
                // A service with nothing to go back to is tried again for ever: that is no unrest.
                assert!(self.before.as_ref().is_some_and(|s| s.conditions.iter().any(|c| !c.status)));
                break;
            }
            let change = self.sim.with(|world, now| world.next_change(now));
            let next_script = script.peek().map(|(at, _)| start + *at);
            let next = [change, wake, Some(resync), next_script].into_iter().flatten().filter(|at| *at > now).min();
            *self.clock.lock().unwrap() = next.unwrap_or(now + Duration::from_secs(1));
        }
        self.judge_end(seen);
    }

    fn happen(&mut self, event: &Event, seen: &mut Seen) {
        let nth = |n: usize| {
            let running: Vec<_> = self.running().into_iter().collect();
            running.get(n % running.len().max(1)).cloned()
        };
        match event {
            Event::Wish(wish) => {
                let moving = self.before.as_ref().is_some_and(|s| s.updated < s.replicas);
                seen.rollovers += u32::from(moving);
                let changed = self.case.spec(&self.wish).digest() != self.case.spec(wish).digest();
                if changed {
                    self.given_up.clear();
                    self.undone = false;
                }
                let other = self.case.spec(&self.wish).revision() != self.case.spec(wish).revision();
                self.wish = wish.clone();
                self.ask_for_jobs(other);
                self.desired = self.resolve();
                self.ledger.epoch += 1;
            }
            Event::Order(order) => self.orders.push(*order),
            Event::KillHook => {
                let killed = self.kill_hook();
                self.disturbances += u64::from(killed);
                seen.hooks_interrupted += u32::from(killed);
            }
            Event::Kill(n, code) => {
                if let Some(id) = nth(*n) {
                    self.sim.with(|world, now| world.kill(&id, *code, now));
                    self.disturbances += 1;
                    seen.kills += 1;
                }
            }
            Event::StopByHand(n) => {
                if let Some(id) = nth(*n) {
                    self.sim.with(|world, now| {
                        if let Some(c) = world.containers.get_mut(&id) {
                            c.replica.restarts = false;
                        }
                        world.kill(&id, 0, now);
                    });
                    self.disturbances += 1;
                }
            }
            Event::RemoveByHand(n) => {
                if let Some(id) = nth(*n) {
                    self.sim.with(|world, _| world.containers.remove(&id));
                    self.disturbances += 1;
                }
            }
            Event::Pause(n) => {
                if let Some(id) = nth(*n) {
                    self.sim.with(|world, _| {
                        if let Some(c) = world.containers.get_mut(&id) {
                            c.replica.state = State::Paused;
                        }
                    });
                    self.disturbances += 1;
                    seen.paused += 1;
                }
            }
        }
    }
}
