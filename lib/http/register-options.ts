/** What Fastify itself reads from the options of every plugin; it passes them on to the plugin all the same. */
export const REGISTER_OPTIONS = ['prefix', 'logLevel', 'logSerializers'] as const
