/*-------------------------------------------------------------------------
 *
 * weather.c
 *	  Disturbances of the storm's servers by their machine.
 *
 * Preloaded into a server, this library does two things.
 *
 * The server's wall clock can be set: the 64-bit number of microseconds in the
 * file that STORM_CLOCK names is added to the time.  The file is mapped when a
 * process starts and may be written to at any time.  Monotonic clocks are not
 * changed, so that timeouts and waits last as long as they should.
 *
 * And the server loses the processor at bad moments: now and then, a process
 * sleeps before it compares 16 bytes, which it does in a search of an index of
 * uuids, like that of the keys.  So other processes run while a key is looked up,
 * and between the look-up and the action that depends on it.  On an idle machine,
 * or one with few processors, that would be rare.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_ONE_IN		200
#define LONGEST_SLEEP		1000	/* microseconds */

static const volatile int64_t *offset;

__attribute__((constructor)) static void
map_offset(void)
{
	const char *name = getenv("STORM_CLOCK");
	int			file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
	void	   *page;

	if (file < 0)
		return;
	page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
	if (page != MAP_FAILED)
		offset = page;
	close(file);
}

int
clock_gettime(clockid_t clock, struct timespec *time)
{
	int			result = (int) syscall(SYS_clock_gettime, clock, time);

	if (result == 0 && offset != NULL &&
		(clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
	{
		int64_t		nanoseconds = time->tv_sec * INT64_C(1000000000) + time->tv_nsec + *offset * 1000;

		time->tv_sec = nanoseconds / 1000000000;
		time->tv_nsec = nanoseconds % 1000000000;
	}
	return result;
}

int
gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	struct timespec now;
	int			result = clock_gettime(CLOCK_REALTIME, &now);

	(void) zone;
	time->tv_sec = now.tv_sec;
	time->tv_usec = now.tv_nsec / 1000;
	return result;
}

time_t
time(time_t *seconds)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_REALTIME, &now);
	if (seconds != NULL)
		*seconds = now.tv_sec;
	return now.tv_sec;
}

static void
lose_the_processor(void)
{
	static uint64_t draws;

	/* Knuth's generator; a forked process goes its own way by its id. */
	draws = (draws + getpid()) * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	if ((draws >> 33) % SLEEP_ONE_IN == 0)
		usleep((draws >> 43) % LONGEST_SLEEP);
}

int
memcmp(const void *a, const void *b, size_t length)
{
	const unsigned char *x = a;
	const unsigned char *y = b;

	if (length == 16)
		lose_the_processor();
	for (; length > 0; length--, x++, y++)
	{
		if (*x != *y)
			return *x < *y ? -1 : 1;
	}
	return 0;
}
