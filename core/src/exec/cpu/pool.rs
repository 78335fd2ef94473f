//! The executor's thread pool: a job consists of pieces, which the threads that are awake take one after the other.
//!
//! A job is started without allocating or locking. The caller does not wait for workers that wake after the job is closed,
//! so a job that is shorter than a thread's wake-up costs no more than on one thread.

#![allow(unsafe_code, reason = "a job borrows from the thread that waits for it, which the compiler cannot see")]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle, Thread, available_parallelism};

use crossbeam::utils::CachePadded;

use crate::error::{Error, ErrorKind, Result};
use crate::system::{place_computing_thread, this_core};

/// Low bits of the gate: the number of workers in the job.
const INSIDE: u64 = (1 << 16) - 1;
/// Bit of the gate: whether workers may enter.
const OPEN: u64 = 1 << 16;
/// Increment of the remaining bits of the gate: the number of the job.
const JOB: u64 = 1 << 17;

/// How often a worker checks for the next job before it sleeps: some tens of microseconds, about the longest pause
/// between two jobs of a frame.
const SPINS: u32 = 4_000;

/// The work of a job, called with the index of the piece and that of the thread.
type Piece<'a> = dyn Fn(usize, usize) + Sync + 'a;

struct Shared {
    /// Workers that wait read it, so it does not share a cache line with what workers in a job write.
    gate: CachePadded<AtomicU64>,
    /// Written while the gate is closed and no worker is inside, read by workers inside.
    job: UnsafeCell<Option<*const Piece<'static>>>,
    pieces: AtomicUsize,
    next: CachePadded<AtomicUsize>,
    /// Whether a worker's piece of this job has panicked, and the last such panic.
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
    asleep: Vec<AtomicBool>,
}

// SAFETY: `job` is the only field that is not `Sync`. The gate synchronizes its only writer with its readers. The work
// that it points to is `Sync` and outlives the job (see `Pool::run`).
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// The number of pools of this process. Only the first one pins its threads: otherwise all would share the first cores.
static POOLS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread does not use the pools.
    static BACKGROUND: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` without the threads of any pool, which frames may need at any time: slower, but without delaying frames.
pub fn background<T>(work: impl FnOnce() -> T) -> T {
    /// Resets the flag, also on a panic.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            BACKGROUND.set(self.0);
        }
    }
    let _back = Back(BACKGROUND.replace(true));
    work()
}

/// Threads that work for one caller at a time.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
    /// Maximum number of workers that a job wakes.
    most_woken: usize,
    busy: AtomicBool,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

/// A pool, with the options that it was created with.
type SharedPool = ((usize, bool), Weak<Pool>);

/// The pools in use.
static SHARED: Mutex<Vec<SharedPool>> = Mutex::new(Vec::new());

impl Pool {
    /// Returns this process's pool with that number of threads, or creates one as [`new`](Self::new) does.
    ///
    /// Concurrent engines take turns: one uses the threads, and the others meanwhile work on their own thread only.
    /// That is faster than a pool of all cores for each.
    pub(super) fn shared(threads: usize, pin: bool) -> Result<Arc<Self>> {
        let mut pools = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|(_, pool)| pool.strong_count() > 0);
        let options = (threads.max(1), pin);
        if let Some(pool) = pools.iter().find_map(|(made, pool)| pool.upgrade().filter(|_| *made == options)) {
            return Ok(pool);
        }
        let pool = Arc::new(Self::new(threads, pin)?);
        pools.push((options, Arc::downgrade(&pool)));
        Ok(pool)
    }

    /// Starts `threads - 1` threads; the caller of [`run`](Self::run) is the last one. With `pin`, each is pinned to a core
    /// of its own, if there are as many cores and no other pool.
    pub(super) fn new(threads: usize, pin: bool) -> Result<Self> {
        Self::on_cores(available_parallelism().map_or(1, NonZeroUsize::get), threads, pin)
    }

    /// Does what [`new`](Self::new) does, for a process that may use `cores` cores. Only as many threads work: more
    /// would take turns on the cores, and wait for each other's last pieces.
    pub(super) fn on_cores(cores: usize, threads: usize, pin: bool) -> Result<Self> {
        let count = threads.max(1) - 1;
        let most_woken = cores.max(2) - 1;
        let shared = Arc::new(Shared {
            gate: CachePadded::new(AtomicU64::new(0)),
            job: UnsafeCell::new(None),
            pieces: AtomicUsize::new(0),
            next: CachePadded::new(AtomicUsize::new(0)),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
            asleep: (0..count).map(|_| AtomicBool::new(false)).collect(),
        });
        let first = POOLS.fetch_add(1, Ordering::Relaxed) == 0;
        let near = this_core();
        let (workers, handles, busy) = (Vec::new(), Vec::new(), AtomicBool::new(false));
        let mut pool = Self { shared, workers, handles, most_woken, busy };
        for index in 0..count {
            let shared = Arc::clone(&pool.shared);
            let work = move || {
                if pin && first {
                    place_computing_thread(index + 1, threads, near);
                }
                shared.work(index);
            };
            let worker =
                thread::Builder::new().name(format!("dreamframe-{}", index + 1)).spawn(work).map_err(|error| {
                    Error::new(ErrorKind::Device, format!("failed to start thread {} of {threads}", index + 2))
                        .with_source(error)
                })?;
            pool.handles.push(worker.thread().clone());
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Returns the number of threads, including the caller.
    pub(super) fn threads(&self) -> usize {
        self.handles.len() + 1
    }

    /// Runs `pieces` pieces of work, each once, and returns when all are done. The caller runs all of them alone if
    /// another caller uses the threads, if it works [in the background](background), or if there is one piece.
    ///
    /// # Panics
    ///
    /// If a piece does; other pieces may then not be done. The threads continue to work for later jobs.
    pub(super) fn run(&self, pieces: usize, piece: &Piece<'_>) {
        let alone = self.handles.is_empty() || pieces < 2 || BACKGROUND.get();
        if alone || self.busy.swap(true, Ordering::Acquire) {
            (0..pieces).for_each(|i| piece(i, 0));
            return;
        }
        let shared = &*self.shared;
        let borrowed: *const Piece<'_> = piece;
        // SAFETY: only the lifetime changes. Nothing uses the pointer after this function: it closes the gate and waits
        // until the last worker has left, also when a piece panics (`Closing` is dropped then).
        let forever = unsafe { std::mem::transmute::<*const Piece<'_>, *const Piece<'static>>(borrowed) };
        // SAFETY: the gate is closed and no worker is inside, and `busy` excludes other callers.
        unsafe { *shared.job.get() = Some(forever) };
        shared.pieces.store(pieces, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        shared.panicked.store(false, Ordering::Relaxed);
        let number = shared.gate.load(Ordering::Relaxed) & !(INSIDE | OPEN);
        shared.gate.store(number.wrapping_add(JOB) | OPEN, Ordering::SeqCst);
        // One piece is the caller's.
        for (asleep, handle) in shared.asleep.iter().zip(&self.handles).take(self.most_woken.min(pieces - 1)) {
            if asleep.load(Ordering::SeqCst) && asleep.swap(false, Ordering::SeqCst) {
                handle.unpark();
            }
        }
        let closing = Closing(self);
        shared.take_pieces(piece, 0);
        closing.wait();
        let panic = if shared.panicked.load(Ordering::Relaxed) { shared.panic().take() } else { None };
        drop(closing);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

/// Ends a job: closes the gate, waits for the workers inside, and lets other callers use the threads.
struct Closing<'a>(&'a Pool);

impl Closing<'_> {
    /// Closes the gate, and waits for the workers inside.
    fn wait(&self) {
        let gate = &self.0.shared.gate;
        gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0_u32;
        while gate.load(Ordering::Acquire) & INSIDE != 0 {
            spins = spins.wrapping_add(1);
            // A worker that was preempted in a piece may need this core.
            if spins.is_multiple_of(1024) { thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.wait();
        self.0.busy.store(false, Ordering::Release);
    }
}

impl Shared {
    fn take_pieces(&self, piece: &Piece<'_>, thread: usize) {
        let pieces = self.pieces.load(Ordering::Relaxed);
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= pieces {
                return;
            }
            piece(i, thread);
        }
    }

    /// The main function of a worker.
    fn work(&self, index: usize) {
        let mut done = 0;
        while let Some(gate) = self.wait(index, done) {
            let entered = self.gate.compare_exchange(gate, gate + 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
            if !entered {
                continue;
            }
            done = gate & !(INSIDE | OPEN);
            // SAFETY: this worker is inside the gate, so the caller of the job waits for it, and has written the pointer
            // before it opened the gate.
            if let Some(piece) = unsafe { *self.job.get() } {
                // SAFETY: as above: the work lives until this worker has left.
                let piece = unsafe { &*piece };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_pieces(piece, index + 1))) {
                    *self.panic() = Some(panic);
                    self.panicked.store(true, Ordering::Relaxed);
                }
            }
            self.gate.fetch_sub(1, Ordering::Release);
        }
    }

    fn panic(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the gate when it is open for a job other than `done` with pieces that no thread has taken; `None` when
    /// the pool ends.
    fn wait(&self, index: usize, done: u64) -> Option<u64> {
        let open_job = || {
            let gate = self.gate.load(Ordering::SeqCst);
            let is_open = gate & OPEN != 0 && gate & !(INSIDE | OPEN) != done;
            // The numbers of this job or, if it has ended since, of another one: the worker then fails to enter.
            (is_open && self.next.load(Ordering::Relaxed) < self.pieces.load(Ordering::Relaxed)).then_some(gate)
        };
        loop {
            for _ in 0..SPINS {
                if let Some(gate) = open_job() {
                    return Some(gate);
                }
                std::hint::spin_loop();
            }
            if self.stop.load(Ordering::SeqCst) {
                return None;
            }
            self.asleep[index].store(true, Ordering::SeqCst);
            // A thread that opens the gate or stops the pool after this reads `asleep`, so no wake-up is lost.
            if open_job().is_none() && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep[index].store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        POOLS.fetch_sub(1, Ordering::Relaxed);
        self.shared.stop.store(true, Ordering::SeqCst);
        for handle in &self.handles {
            handle.unpark();
        }
        for worker in self.workers.drain(..) {
            // Panics of pieces do not end a worker.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once() {
        for threads in [1, 2, 5, 33] {
            let pool = Pool::on_cores(threads, threads, false).unwrap();
            for pieces in [0, 1, 2, 7, 100, 1000] {
                let done = (0..pieces).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>();
                pool.run(pieces, &|i, thread| {
                    assert!(thread < threads);
                    done[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn after_a_panic_of_any_piece_the_threads_work_for_the_next_job() {
        let pool = Pool::on_cores(4, 4, false).unwrap();
        let panic_on = |workers: bool, caller: bool| {
            // The caller's piece ends only when each worker has taken one.
            let taken = AtomicUsize::new(0);
            let job = || {
                pool.run(100, &|_, thread| {
                    taken.fetch_add(1, Ordering::SeqCst);
                    while taken.load(Ordering::SeqCst) < 4 {
                        thread::yield_now();
                    }
                    assert!(!if thread == 0 { caller } else { workers }, "of the test");
                });
            };
            catch_unwind(AssertUnwindSafe(job)).map_err(|panic| panic.downcast_ref::<&str>().copied())
        };
        for (workers, caller) in [(true, false), (false, true), (true, true), (true, false)] {
            assert_eq!(panic_on(workers, caller), Err(Some("of the test")), "{workers}, {caller}");
            assert_eq!(panic_on(false, false), Ok(()), "after {workers}, {caller}");
        }
    }

    #[test]
    fn second_concurrent_caller_works_on_its_own_thread() {
        let pool = Pool::new(3, true).unwrap();
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let sum = AtomicUsize::new(0);
                        pool.run(20, &|i, _| {
                            sum.fetch_add(i, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 190);
                    }
                });
            }
        });
    }

    #[test]
    fn work_in_the_background_leaves_the_threads_to_others() {
        let pool = Pool::new(4, false).unwrap();
        let here = thread::current().id();
        background(|| pool.run(200, &|_, _| assert_eq!(thread::current().id(), here)));
        assert!(!pool.busy.load(Ordering::SeqCst) && !BACKGROUND.get());
    }

    #[test]
    fn workers_that_slept_wake_for_the_next_job() {
        for threads in [2, 33] {
            let pool = Pool::on_cores(threads, threads, false).unwrap();
            while !pool.shared.asleep.iter().all(|asleep| asleep.load(Ordering::SeqCst)) {
                thread::yield_now();
            }
            // The caller's piece ends only when each worker has taken one.
            let taken = AtomicUsize::new(0);
            pool.run(threads, &|_, _| {
                taken.fetch_add(1, Ordering::SeqCst);
                while taken.load(Ordering::SeqCst) < threads {
                    thread::yield_now();
                }
            });
            assert_eq!(taken.into_inner(), threads);
        }
    }

    #[test]
    fn a_job_wakes_no_more_workers_than_it_has_pieces_and_the_process_cores() {
        for (cores, pieces, most) in [(6, 3, 2), (3, 100, 2), (1, 100, 1), (100, 100, 5)] {
            let pool = Pool::on_cores(cores, 6, false).unwrap();
            let asleep = || pool.shared.asleep.iter().filter(|asleep| asleep.load(Ordering::SeqCst)).count();
            for _ in 0..50 {
                while asleep() < 5 {
                    thread::yield_now();
                }
                pool.run(pieces, &|_, _| assert!(asleep() >= 5 - most));
            }
        }
    }
}
