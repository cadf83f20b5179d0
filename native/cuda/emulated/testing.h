/*
 * What tests ask of the stand-in for a device. Only libespalier_cuda_emulated.so has these; all device memory in it is
 * memory of the process.
 */
#ifndef ESPALIER_CUDA_EMULATED_TESTING_H
#define ESPALIER_CUDA_EMULATED_TESTING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * A device as good as new, but for what `settings` says: pairs like "driver=0,memory=1000000", of
 *   driver=N           the driver's CUDA version, as 1000 * major + 10 * minor; 0: there is none
 *   devices=N          how many
 *   compute=N          10 * major + minor; there is code for 80 and above
 *   memory=N           bytes of the device
 *   fail-allocation=N  the Nth of what is made from here on (memory, pinned memory, streams, events,
 *                      user objects) isn't
 *   fail-launch=N      the Nth kernel that starts from here on breaks the device
 * Before the first call, the environment's EMULATED_CUDA holds. Settings that are not these end the process.
 */
void esp_cuda_emulated_configure(const char *settings);
/* Pieces of memory, streams, events and user objects that nobody has freed. */
uint64_t esp_cuda_emulated_live(void);
/* Called on the thread that runs a kernel, before it starts; null: nothing is. */
void esp_cuda_emulated_before_kernel(void (*hook)(void *user), void *user);

/* Memory of the device; null where there is none left. */
void *esp_cuda_emulated_allocate(size_t bytes);
void esp_cuda_emulated_free(void *memory);
/* Runs what is on all streams. @return a cudaError_t */
int esp_cuda_emulated_synchronize(void);

#ifdef __cplusplus
}
#endif
#endif
