/**
 * The 22 event types that Posthorn ships with: names, order and descriptions from the wire contract, section 3, the
 * fields of `data` from section 4. Each family of jobs ends in one of two events, `…_success` and `…_failed`.
 */
import type { EventType, JsonObject } from '../model.ts';
import { constant, type Fields, integer, list, moment, object, seconds, text, url } from './fields.ts';

interface Family {
  /** The types' common name: `{name}_success` and `{name}_failed`. */
  name: string;
  category: string;
  /** The job, as the descriptions begin. */
  job: string;
  /** What names the resource, in both events. */
  id: Fields;
  /** `data` of the success event, complete and in order. */
  success: Fields;
  error: { code: number; message: string };
}

const COMPLETED: Fields = { status: constant('The job ended well.', 'completed') };
const FAILED: Fields = { status: constant('The job ended without a result.', 'failed') };

const VIDEO_ID: Fields = {
  video_id: text('Id of the video.', 'video_8f3a61c2d94e'),
  project_id: text('The same id under its older name; receivers of v1 read it.', 'video_8f3a61c2d94e'),
};
const VIDEO: Fields = {
  ...VIDEO_ID,
  ...COMPLETED,
  video_url: url('Where the video can be downloaded.', 'https://media.example.com/videos/8f3a61c2d94e.mp4'),
  cover_url: url(
    'Where its cover image can be downloaded.',
    'https://media.example.com/covers/8f3a61c2d94e.jpg',
  ),
  duration: seconds('Length of the video in seconds.', 31.4),
  created_at: moment('When the video was made, in unix seconds.', 1767225600),
};
const TRANSLATED_VIDEO: Fields = {
  ...VIDEO,
  subtitle_url: url(
    'Where the subtitles in the target language can be downloaded.',
    'https://media.example.com/subtitles/8f3a61c2d94e.srt',
  ),
};
const VIDEO_ERROR = { code: 50012, message: 'The avatar voice could not be synthesised' };

const AVATAR_ID: Fields = { avatar_id: integer('Id of the avatar.', 10482) };
const AVATAR: Fields = {
  ...AVATAR_ID,
  name: text('Name of the avatar.', 'Maya, shop assistant'),
  ...COMPLETED,
  preview_url: url(
    'Where a preview video of the avatar can be watched.',
    'https://media.example.com/avatars/10482.mp4',
  ),
  cover_url: url('Where its cover image can be downloaded.', 'https://media.example.com/avatars/10482.jpg'),
};

const PHOTO_ID: Fields = { photo_id: text('Id of the photo avatar.', 'photo_2c7e90b1') };
const PHOTO_AVATAR: Fields = {
  ...PHOTO_ID,
  ...COMPLETED,
  image_url_list: list('Where the photos can be downloaded.', [
    url('One photo.', 'https://media.example.com/photos/2c7e90b1-1.jpg'),
    url('One photo.', 'https://media.example.com/photos/2c7e90b1-2.jpg'),
  ]),
};

const SCRIPT_ID: Fields = { task_id: text('Id of the script job.', 'task_script_51d0') };
const SCRIPT: Fields = {
  ...SCRIPT_ID,
  ...COMPLETED,
  scripts: list('The scripts that were written, one for each style.', [
    object('One script.', {
      script_style: text('Style that it is written in.', 'Storytelling'),
      script_paragraphs: list('Its paragraphs in order.', [
        text('One paragraph.', 'Mornings used to be a race against the clock.'),
        text('One paragraph.', 'Then a kettle learned when we wake up.'),
      ]),
    }),
  ]),
};

const IMAGE_ID: Fields = { task_id: text('Id of the image job.', 'task_image_7ab4') };
const IMAGE: Fields = {
  ...IMAGE_ID,
  ...COMPLETED,
  image_urls: list('Where the images can be downloaded.', [
    url('One image.', 'https://media.example.com/images/7ab4-1.png'),
    url('One image.', 'https://media.example.com/images/7ab4-2.png'),
  ]),
};

const MOTION_ID: Fields = { motion_id: text('Id of the motion.', 'motion_6e18f5') };
const MOTION: Fields = {
  ...MOTION_ID,
  ...AVATAR_ID,
  name: text('Name of the avatar that moves.', 'Maya, waving'),
  ...COMPLETED,
  image_url: url(
    'Where the image that was set in motion can be downloaded.',
    'https://media.example.com/motions/6e18f5.jpg',
  ),
  motion_preview_url: url(
    'Where a preview video can be watched.',
    'https://media.example.com/motions/6e18f5.mp4',
  ),
  voice_id: text('Id of the voice that the avatar speaks with.', 'en-GB-warm-2'),
};

const FAMILIES: Family[] = [
  {
    name: 'generated_video',
    category: 'video',
    job: 'Video generation',
    id: VIDEO_ID,
    success: VIDEO,
    error: VIDEO_ERROR,
  },
  {
    name: 'create_avatar',
    category: 'avatar',
    job: 'Avatar creation',
    id: AVATAR_ID,
    success: AVATAR,
    error: { code: 50021, message: 'No face was found in the training video' },
  },
  {
    name: 'generated_image',
    category: 'image',
    job: 'Image generation',
    id: IMAGE_ID,
    success: IMAGE,
    error: { code: 50031, message: 'The prompt was refused by the content policy' },
  },
  {
    name: 'generated_motion',
    category: 'motion',
    job: 'Motion generation',
    id: MOTION_ID,
    success: MOTION,
    error: { code: 50041, message: 'The image shows more than one person' },
  },
  {
    name: 'generated_product_video',
    category: 'video',
    job: 'Product video generation',
    id: VIDEO_ID,
    success: VIDEO,
    error: { code: 50013, message: 'The product page could not be read' },
  },
  {
    name: 'generated_avatar_video',
    category: 'video',
    job: 'Avatar video generation',
    id: VIDEO_ID,
    success: VIDEO,
    error: VIDEO_ERROR,
  },
  {
    name: 'generated_template_video',
    category: 'video',
    job: 'Template video generation',
    id: VIDEO_ID,
    success: VIDEO,
    error: { code: 50014, message: 'A variable of the template has no value' },
  },
  {
    name: 'generated_translate_video',
    category: 'video',
    job: 'Video translation',
    id: VIDEO_ID,
    success: TRANSLATED_VIDEO,
    error: { code: 50015, message: 'No speech was found in the source video' },
  },
  {
    name: 'generated_photo_avatar',
    category: 'avatar',
    job: 'Photo avatar creation',
    id: PHOTO_ID,
    success: PHOTO_AVATAR,
    error: { code: 50022, message: 'The photo is smaller than 512 pixels' },
  },
  {
    name: 'generated_product_avatar',
    category: 'avatar',
    job: 'Product avatar creation',
    id: AVATAR_ID,
    success: AVATAR,
    error: { code: 50023, message: 'The product image has no transparent background' },
  },
  {
    name: 'generated_script',
    category: 'script',
    job: 'AI script generation',
    id: SCRIPT_ID,
    success: SCRIPT,
    error: { code: 50051, message: 'The product description is too short for a script' },
  },
];

/** The built-in event types in the order of the wire contract. None is deprecated until an operator says so. */
export const BUILT_IN_TYPES: readonly EventType[] = FAMILIES.flatMap((family) => [
  eventType(`${family.name}_success`, family.category, `${family.job} succeeded`, family.success),
  eventType(`${family.name}_failed`, family.category, `${family.job} failed`, {
    ...family.id,
    ...FAILED,
    error: object('Why it failed.', {
      code: integer('Number of the error, for programs.', family.error.code),
      message: text('The error in a sentence, for people.', family.error.message),
    }),
  }),
]);

function eventType(name: string, category: string, description: string, fields: Fields): EventType {
  const data = object(description, fields);
  return {
    name,
    category,
    description,
    schema: data.schema,
    example: data.example as JsonObject,
    deprecated: false,
    builtIn: true,
  };
}
