import type { FastifyBaseLogger, FastifyTypeProvider, RawServerBase, RawServerDefault, RegisterOptions } from 'fastify'
import type { mcpEndpoint } from './endpoint.js'
import type { DualEndpointOptions, SessionEndpointOptions } from './options.js'

/* eslint-disable @typescript-eslint/no-unused-vars -- to be merged, an interface must have all the parameters of the other */
declare module 'fastify' {
  /*
   * Fastify lets the options of a plugin be a function, too. That keeps TypeScript from telling the two kinds of endpoint
   * apart by `modern`, and so from typing what `createServer` is called with. Two signatures tell them apart.
   */
  interface FastifyRegister<
    T = void,
    RawServer extends RawServerBase = RawServerDefault,
    TypeProviderDefault extends FastifyTypeProvider = FastifyTypeProvider,
    LoggerDefault extends FastifyBaseLogger = FastifyBaseLogger
  > {
    (plugin: typeof mcpEndpoint, options: RegisterOptions & SessionEndpointOptions): T
    (plugin: typeof mcpEndpoint, options: RegisterOptions & DualEndpointOptions): T
  }
}
