/* Calls from several threads at the same time: each does what it says or is refused, and nothing is lost. */
#include "expect.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SIDE = 64, THREADS = 4, CALLS = 25, LIMIT_MS = 120000 };

typedef struct job {
  dreamframe_engine_t *engine;
  dreamframe_session_t *session;
  atomic_int *done;
} job_t;

static void on_threads(void *(*run)(void *), job_t *job) {
  pthread_t threads[THREADS];
  for (int index = 0; index < THREADS; index++) {
    EXPECT(pthread_create(&threads[index], NULL, run, job) == 0);
  }
  for (int index = 0; index < THREADS; index++) {
    EXPECT(pthread_join(threads[index], NULL) == 0);
  }
}

/* An engine takes one call at a time: it does another, or says that it is in use. */
static void *process(void *argument) {
  const job_t *job = argument;
  uint8_t in[SIDE * SIDE * 4] = {0}, out[SIDE * SIDE * 4];
  const dreamframe_frame_t frame = rgba(in, SIDE), room = rgba(out, SIDE);
  for (int call = 0; call < CALLS; call++) {
    const dreamframe_status_t status = dreamframe_engine_process(job->engine, &frame, &room, NULL);
    EXPECT(status == DREAMFRAME_OK || status == DREAMFRAME_ERROR_INVALID_ARGUMENT);
    atomic_fetch_add(job->done, status == DREAMFRAME_OK);
  }
  return NULL;
}

/* A session takes all calls at the same time, also that one which stops it. */
static void *use(void *argument) {
  const job_t *job = argument;
  uint8_t in[SIDE * SIDE * 4] = {0}, out[SIDE * SIDE * 4];
  const dreamframe_frame_t frame = rgba(in, SIDE), room = rgba(out, SIDE);
  for (int call = 0; call < CALLS; call++) {
    dreamframe_picture_info_t info = DREAMFRAME_PICTURE_INFO_INIT;
    dreamframe_stats_t stats = DREAMFRAME_STATS_INIT;
    char *text = NULL;
    const dreamframe_status_t statuses[] = {
        dreamframe_session_submit(job->session, &frame, NULL),
        dreamframe_session_set_f32(job->session, "delta", (float)call / CALLS, NULL),
        dreamframe_session_wait(job->session, 50, &room, &info),
        dreamframe_session_poll(job->session, &room, &info),
    };
    for (size_t index = 0; index < sizeof statuses / sizeof *statuses; index++) {
      EXPECT(statuses[index] >= 0 || statuses[index] == DREAMFRAME_ERROR_CLOSED);
    }
    OK(dreamframe_session_stats(job->session, &stats));
    OK(dreamframe_session_params(job->session, &text));
    dreamframe_string_free(text);
    text = NULL;
    EXPECT(dreamframe_session_next_event(job->session, 0, &text) >= 0);
    dreamframe_string_free(text);
    if (atomic_fetch_add(job->done, 1) == THREADS * CALLS / 2) {
      OK(dreamframe_session_stop(job->session, LIMIT_MS));
    }
  }
  return NULL;
}

/* Each thread has its own last error. */
static void *fail(void *argument) {
  (void)argument;
  EXPECT(strcmp(dreamframe_last_error(), "") == 0);
  REFUSED(INVALID_PARAMS, dreamframe_params_check("{\"delta\": -1}", NULL));
  EXPECT(strstr(dreamframe_last_error(), "delta") != NULL);
  return NULL;
}

/* Objects are created and freed on all threads at once; one that another thread frees is refused, or ends its call first. */
static void *create(void *argument) {
  const job_t *job = argument;
  dreamframe_engine_t *engine = engine_on(1, SIDE);
  const job_t own = {engine, NULL, job->done};
  pthread_t user;
  EXPECT(pthread_create(&user, NULL, process, (void *)&own) == 0);
  dreamframe_engine_free(engine);
  EXPECT(pthread_join(user, NULL) == 0);
  return NULL;
}

/* What the callbacks of one session were told. */
typedef struct told {
  atomic_int pictures;
  atomic_int lines;
  atomic_int steps;
} told_t;

static void on_picture(void *user_data, const dreamframe_frame_t *picture, const dreamframe_picture_info_t *info) {
  told_t *told = user_data;
  EXPECT(picture == NULL || (picture->width == SIDE && picture->planes[0] != NULL && info->kind != 0));
  atomic_fetch_add(&told->pictures, 1);
}

static void on_line(void *user_data, uint32_t level, const char *target, const char *message) {
  told_t *told = user_data;
  EXPECT(level >= DREAMFRAME_LOG_LEVEL_ERROR && level <= DREAMFRAME_LOG_LEVEL_TRACE);
  EXPECT(strlen(target) > 0 && message != NULL);
  atomic_fetch_add(&told->lines, 1);
}

static int32_t on_progress(void *user_data, const char *component, uint64_t done, uint64_t total) {
  told_t *told = user_data;
  EXPECT(strlen(component) > 0 && done <= total);
  /* The third step is one too many. */
  return atomic_fetch_add(&told->steps, 1) == 2;
}

static void callbacks(void) {
  told_t told = {0};
  dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;
  options.log = on_line;
  options.log_level = DREAMFRAME_LOG_LEVEL_TRACE;
  options.progress = on_progress;
  options.user_data = &told;
  dreamframe_engine_t *engine = NULL;
  REFUSED(CANCELLED, dreamframe_engine_create(&options, &engine));
  EXPECT(engine == NULL && told.steps == 3);

  engine = engine_new(options, SIDE);
  EXPECT(told.steps > 3);
  dreamframe_session_options_t session_options = DREAMFRAME_SESSION_OPTIONS_INIT;
  session_options.on_picture = on_picture;
  session_options.user_data = &told;
  dreamframe_session_t *session = NULL;
  OK(dreamframe_session_start(engine, &session_options, &session));
  uint8_t in[SIDE * SIDE * 4] = {0};
  const dreamframe_frame_t frame = rgba(in, SIDE);
  for (int index = 0; index < 5; index++) {
    OK(dreamframe_session_submit(session, &frame, NULL));
  }
  OK(dreamframe_session_stop(session, LIMIT_MS));
  const int pictures = told.pictures;
  EXPECT(pictures > 0 && told.lines > 0);
  dreamframe_session_free(session);
  dreamframe_engine_free(engine);
  EXPECT(told.pictures == pictures); /* nothing calls after a stop */
}

int main(void) {
  atomic_int done = 0;
  job_t job = {engine_on(2, SIDE), NULL, &done};
  on_threads(process, &job);
  EXPECT(done > 0);

  done = 0;
  OK(dreamframe_session_start(job.engine, NULL, &job.session));
  on_threads(use, &job);
  dreamframe_session_free(job.session);
  dreamframe_engine_free(job.engine);

  on_threads(fail, NULL);
  on_threads(create, &job);
  callbacks();
  return 0;
}
