import 'reflect-metadata';
import { Controller, Module, Post, Req, Res } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { nestHandler } from '@posthorn/receiver/nest';
import type { Request, Response } from 'express';
import { receiver } from './receiver.ts';

@Controller('hooks')
class HooksController {
  readonly #receive = nestHandler(receiver);

  @Post()
  receive(@Req() request: Request, @Res() response: Response): Promise<void> {
    return this.#receive(request, response);
  }
}

@Module({ controllers: [HooksController] })
class AppModule {}

const app = await NestFactory.create(AppModule, { rawBody: true });
await app.listen(3000);
