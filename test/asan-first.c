/*
 * asan-first.c
 *		Initialize AddressSanitizer before any other library.
 *
 * A server that was built without AddressSanitizer can load a library that was
 * built with it if the sanitizer's run-time is preloaded.  The run-time then
 * initializes itself on the process's first call of malloc(), which comes from
 * the constructor of whatever library is initialized first.  In a server that
 * is linked to libgpg-error this is within bindtextdomain(), while the C
 * library holds a lock that the initialization wants too, and the process
 * never starts.  This library, linked with -z initfirst, is initialized before
 * all others, so that nothing remains to be done under that lock.
 */
extern void __asan_init(void);

__attribute__((constructor)) static void
initialize_asan(void)
{
	__asan_init();
}
